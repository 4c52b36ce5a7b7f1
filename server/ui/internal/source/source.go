// Package source makes listings of files: a line each, with its number, and YAML and JSON in colours.
//
// Colours come from the tokens of goccy/go-yaml's lexer, which reads a text once from its beginning to its end. What is listed is always
// the text itself: tokens only say where a class begins. Where they do not fit the text the rest of it has no colours.
package source

import (
	"html/template"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Bounds on a listing.
const (
	// maxColoured is how large a text may be to be given colours, in bytes: the lexer's time grows with the square of some texts.
	maxColoured = 64 << 10
	// maxLine is how much of a line is listed, in bytes.
	maxLine = 4 << 10
)

// Line is a line of a listing.
type Line struct {
	// Number is counted from 1.
	Number int
	HTML   template.HTML
	// Indent is how far its text is indented.
	Indent int
	// Cut says that the line is longer than what is listed of it.
	Cut bool
}

// IsText says whether content can be listed.
func IsText(content []byte) bool {
	return utf8.Valid(content) && !strings.ContainsRune(string(content[:min(len(content), 8<<10)]), 0)
}

// Split returns the lines of a text, without what ends them.
func Split(text string) []string {
	text = strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	return strings.Split(text, "\n")
}

// Lines lists a text. The name says by its ending whether it has colours.
func Lines(name, text string) []Line {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	var classes []byte
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml", ".json":
		if len(text) <= maxColoured {
			classes = classify(text)
		}
	}
	split := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines, at := make([]Line, len(split)), 0
	for i, line := range split {
		lines[i] = Line{Number: i + 1, Indent: len(line) - len(strings.TrimLeft(line, " "))}
		shown := line
		if len(shown) > maxLine {
			shown, lines[i].Cut = strings.ToValidUTF8(shown[:maxLine], ""), true
		}
		var own []byte
		if classes != nil {
			own = classes[at : at+len(shown)]
		}
		lines[i].HTML = mark(shown, own)
		at += len(line) + 1
	}
	return lines
}

// mark makes HTML of a line, with an element around each run of a class.
func mark(line string, classes []byte) template.HTML {
	if classes == nil {
		return template.HTML(template.HTMLEscapeString(line)) //nolint:gosec // escaped
	}
	var b strings.Builder
	for at := 0; at < len(line); {
		class, end := classes[at], at+1
		for end < len(line) && classes[end] == class {
			end++
		}
		text := template.HTMLEscapeString(line[at:end])
		if class == 0 {
			b.WriteString(text)
		} else {
			b.WriteString(`<span class="` + string(class) + `">` + text + `</span>`)
		}
		at = end
	}
	return template.HTML(b.String()) //nolint:gosec // escaped, and classes are letters
}

// classify returns the class of each byte of a text: k is a key, s a string, v another value, c a comment, p punctuation; 0 is none.
func classify(text string) (classes []byte) {
	classes = make([]byte, len(text)+1)
	defer func() {
		if recover() != nil { // a lexer that panics has said what it could
			return
		}
	}()
	at := 0
	for _, t := range lexer.Tokenize(text) {
		begin, end, ok := locate(text, at, t.Origin)
		if !ok {
			return classes
		}
		if class := classOf(t); class != 0 {
			for i := begin; i < end; i++ {
				classes[i] = class
			}
		}
		at = end
	}
	return classes
}

// locate finds a token's text at or after a place. The lexer leaves out some space, so only the rest is compared.
func locate(text string, at int, origin string) (begin, end int, ok bool) {
	begin, end = -1, at
	for _, r := range origin {
		if unicode.IsSpace(r) {
			continue
		}
		for end < len(text) {
			next, width := utf8.DecodeRuneInString(text[end:])
			if !unicode.IsSpace(next) {
				if next != r {
					return 0, 0, false
				}
				if begin < 0 {
					begin = end
				}
				end += width
				break
			}
			end += width
		}
	}
	if begin < 0 {
		return at, at, true
	}
	return begin, end, true
}

func classOf(t *token.Token) byte {
	switch t.Type {
	case token.CommentType:
		return 'c'
	case token.MappingValueType, token.MappingKeyType, token.SequenceEntryType, token.CollectEntryType, token.MappingStartType, token.MappingEndType,
		token.SequenceStartType, token.SequenceEndType, token.DocumentHeaderType, token.DocumentEndType, token.DirectiveType,
		token.LiteralType, token.FoldedType:
		return 'p'
	case token.IntegerType, token.FloatType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType, token.InfinityType, token.NanType,
		token.BoolType, token.NullType, token.AnchorType, token.AliasType, token.TagType, token.MergeKeyType:
		return or(isKey(t), 'k', 'v')
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType:
		return or(isKey(t), 'k', 's')
	}
	return 0
}

func or(is bool, yes, no byte) byte {
	if is {
		return yes
	}
	return no
}

func isKey(t *token.Token) bool { return t.Next != nil && t.Next.Type == token.MappingValueType }
