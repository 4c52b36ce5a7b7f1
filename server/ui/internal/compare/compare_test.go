package compare

import (
	"fmt"
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
)

func describe(r Result) string {
	var b strings.Builder
	for _, row := range r.Rows {
		if row.Kind == '.' {
			fmt.Fprintf(&b, ".%d\n", row.Skipped)
			continue
		}
		fmt.Fprintf(&b, "%c%d/%d %s", row.Kind, row.Old, row.New, row.Before)
		if row.Changed != "" {
			fmt.Fprintf(&b, "[%s]%s", row.Changed, row.After)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestLines(t *testing.T) {
	before := strings.Split("a b c d e f g h i j version: 1.1.0 k l m n o", " ")
	before[10], before = "version: 1.1.0", append(before[:11], before[12:]...)
	after := append([]string{}, before...)
	after[10] = "version: 1.3.0"
	after = append(after, "new")
	r := Lines(before, after)
	if r.Added != 2 || r.Removed != 1 {
		t.Errorf("+%d -%d", r.Added, r.Removed)
	}
	const want = ".7\n 8/8 h\n 9/9 i\n 10/10 j\n-11/0 version: 1.[1].0\n+0/11 version: 1.[3].0\n 12/12 k\n 13/13 l\n 14/14 m\n 15/15 n\n 16/16 o\n+0/17 new\n"
	if got := describe(r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if same := Lines(before, before); len(same.Rows) != 0 || same.Added != 0 {
		t.Errorf("equal texts differ: %v", same)
	}
}

func TestBounds(t *testing.T) {
	if r := Lines(make([]string, maxLines+1), nil); !r.TooLarge {
		t.Error("too many lines are compared")
	}
	var a, b []string
	for i := range maxLines {
		a, b = append(a, fmt.Sprint("a", i)), append(b, fmt.Sprint("b", i))
	}
	if r := Lines(a, b); !r.Cut || len(r.Rows) > maxShown {
		t.Errorf("%d rows, cut: %v", len(r.Rows), r.Cut)
	}
}

// FuzzLines checks that a comparison leads from one text to the other.
func FuzzLines(f *testing.F) {
	f.Add("a\nb\nc", "a\nc\nd")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, before, after string) {
		a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
		var r Result
		testfuzz.Proportionate(t, len(before)+len(after), func() { r = Lines(a, b) })
		if r.TooLarge || r.Cut || len(r.Rows) == 0 {
			return
		}
		var old, now []string
		for _, row := range r.Rows {
			text := row.Before + row.Changed + row.After
			switch row.Kind {
			case '.':
				old, now = append(old, a[len(old):len(old)+row.Skipped]...), append(now, b[len(now):len(now)+row.Skipped]...)
				continue
			case ' ', '-':
				old = append(old, text)
			}
			if row.Kind != '-' {
				now = append(now, text)
			}
		}
		// Marks are made of characters, so that bytes that are none become the replacement character.
		if strings.Join(old, "\n") != before && strings.ToValidUTF8(before, "") == before || strings.Join(now, "\n") != after && strings.ToValidUTF8(after, "") == after {
			t.Errorf("%q to %q:\n%s", before, after, describe(r))
		}
	})
}
