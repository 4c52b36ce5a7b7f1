// Package terminal is how packctl writes for people: tables, colours and progress where somebody is looking, plain text where
// nobody is, and nothing that a registry or a pack says ever moves the cursor or changes the terminal's state.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// IsTerminal says whether a person is looking at what is written to w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// canDraw says whether what is written to w may move the cursor.
func canDraw(w io.Writer) bool { return IsTerminal(w) && os.Getenv("TERM") != "dumb" }

// Colors are those of what is written to one place: none unless it is a terminal, and none with NO_COLOR or TERM=dumb.
type Colors bool

// ColorsFor says whether w takes colours.
func ColorsFor(w io.Writer) Colors {
	on := canDraw(w) && os.Getenv("NO_COLOR") == ""
	if on {
		text.EnableColors() // the library's own opinion is of standard output, whatever it writes to
	}
	return Colors(on)
}

func (c Colors) paint(s string, colors ...text.Color) string {
	if !c {
		return s
	}
	return text.Colors(colors).Sprint(s)
}

// Good is for what went well, Warn for what could be better, Bad for what failed, and Head for headings.
func (c Colors) Good(s string) string { return c.paint(s, text.FgGreen) }

// Warn is for what could be better.
func (c Colors) Warn(s string) string { return c.paint(s, text.FgYellow) }

// Bad is for what failed.
func (c Colors) Bad(s string) string { return c.paint(s, text.FgRed) }

// Head is for headings.
func (c Colors) Head(s string) string { return c.paint(s, text.Bold) }

// unsafe says whether a character moves a terminal's cursor, changes its state, or shows the text after it in another order.
func unsafe(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0: // C0, DEL and C1
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // separators and directions
		return true
	}
	return r == utf8.RuneError || r == 0xfeff
}

// Safe is a text of somebody else without what a terminal would act on; its lines stay.
func Safe(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unsafe(r) {
			return -1
		}
		return r
	}, s)
}

// Line is Safe for what belongs on one line.
func Line(s string) string {
	return strings.TrimRight(strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case unsafe(r):
			return -1
		}
		return r
	}, s), " ")
}

// JSON is the text of a JSON document in which such characters are written as JSON escapes them, which changes nothing for who
// reads it as JSON. They can be in strings alone.
func JSON(document string) string {
	var b strings.Builder
	for _, r := range document {
		if r != '\n' && r != '\t' && r != utf8.RuneError && unsafe(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
