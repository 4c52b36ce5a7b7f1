package readme

import "bytes"

// Bounds on what a README may hold. goldmark's time grows with the square of some of it, and cannot be cut short; people's READMEs come
// nowhere near.
const (
	// maxNesting is how many quotes and lists a line may open.
	maxNesting = 32
	// maxMarkup is how many characters there may be that can mean something in Markdown.
	maxMarkup = 24_000
	// maxOpen is how many brackets may be open at once.
	maxOpen = 200
	// maxDefinitions is how many addresses of links may stand apart from the links.
	maxDefinitions = 1000
	// maxItems is how many items lists may have.
	maxItems = 10_000
	// maxHeadings is how many headings there may be.
	maxHeadings = 2000
	// maxCells is how many cells tables may have, with those that rows leave out.
	maxCells = 40_000
)

// counts is what was found of what is bounded.
type counts struct {
	markup, definitions, headings, items, cells int
	round, square, angle                        int
	// columns is those of the table that lines belong to; 0 outside of tables.
	columns int
}

// exceeds says whether a text has more than people write of what costs time.
func exceeds(source []byte) bool {
	var c counts
	for line := range bytes.Lines(source) {
		if c.line(line); c.markup > maxMarkup || c.definitions > maxDefinitions || c.headings > maxHeadings || c.items > maxItems || c.cells > maxCells ||
			max(c.round, c.square, c.angle) > maxOpen || nesting(line) > maxNesting {
			return true
		}
	}
	return false
}

func (c *counts) line(line []byte) {
	for _, b := range line {
		switch b {
		case '(':
			c.round++
		case ')':
			c.round = max(0, c.round-1)
		case '[':
			c.square++
		case ']':
			c.square = max(0, c.square-1)
		case '<':
			c.angle++
		case '>':
			c.angle = max(0, c.angle-1)
		case '*', '_', '~', '`', '|', '!', '&', '\\':
		default:
			continue
		}
		c.markup++
	}
	text := bytes.TrimLeft(line, " >\t")
	switch {
	case bytes.HasPrefix(text, []byte("[")) && bytes.Contains(text, []byte("]:")):
		c.definitions++
	case bytes.HasPrefix(text, []byte("- ")), bytes.HasPrefix(text, []byte("* ")), bytes.HasPrefix(text, []byte("+ ")), len(text) > 1 && text[0] >= '0' && text[0] <= '9':
		c.items++
	case bytes.HasPrefix(text, []byte("#")), len(bytes.Trim(text, "-= \t\r\n")) == 0 && len(text) > 2:
		c.headings++
	}
	switch trimmed := bytes.TrimSpace(line); {
	case len(trimmed) == 0:
		c.columns, c.round, c.square, c.angle = 0, 0, 0, 0 // a paragraph ends, and what it left open
	case len(bytes.Trim(trimmed, "-:| \t>")) == 0:
		c.columns = max(c.columns, bytes.Count(trimmed, []byte("|"))+1)
	}
	c.cells += c.columns
}

// nesting is how many quotes and lists a line may open.
func nesting(line []byte) int {
	if len(bytes.Trim(line, "-*_= \t\r\n|:")) == 0 {
		line = bytes.TrimLeft(line, "-*_= \t|:") // a line across, or that below the head of a table
	}
	opened, indent := 0, 0
	for _, b := range line {
		switch {
		case bytes.IndexByte([]byte(">-*+"), b) >= 0:
			opened++
		case b == ' ':
			indent++
		case b == '\t':
			indent += 4
		case b >= '0' && b <= '9', b == '.', b == ')':
		default:
			return opened + indent/8
		}
	}
	return opened
}
