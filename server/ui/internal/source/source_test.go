package source

import (
	"html"
	"regexp"
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
)

// shown is the text that a listing shows: its elements taken away, and each must be one of a class.
func shown(t *testing.T, lines []Line) string {
	t.Helper()
	element := regexp.MustCompile(`<span class="[ksvcp]">|</span>`)
	texts := make([]string, len(lines))
	for i, l := range lines {
		bare := element.ReplaceAllString(string(l.HTML), "")
		if strings.ContainsAny(bare, "<>\"") {
			t.Errorf("line %d has markup of its own: %q", l.Number, l.HTML)
		}
		texts[i] = html.UnescapeString(bare)
	}
	return strings.Join(texts, "\n")
}

func TestColours(t *testing.T) {
	lines := Lines("values.yaml", "# note\na:\n  b: 1 # x\n  c: \"d <e>\"\n  - true\n")
	for i, want := range []string{
		`<span class="c"># note</span>`,
		`<span class="k">a</span><span class="p">:</span>`,
		`  <span class="k">b</span><span class="p">:</span> <span class="v">1</span> <span class="c"># x</span>`,
		`  <span class="k">c</span><span class="p">:</span> <span class="s">&#34;d &lt;e&gt;&#34;</span>`,
		`  <span class="p">-</span> <span class="v">true</span>`,
	} {
		if string(lines[i].HTML) != want {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, lines[i].HTML, want)
		}
	}
	json := Lines("pack.json", "{\"a\" : 1}")
	if want := `<span class="p">{</span><span class="k">&#34;a&#34;</span> <span class="p">:</span> <span class="v">1</span><span class="p">}</span>`; string(json[0].HTML) != want {
		t.Errorf("JSON: %s", json[0].HTML)
	}
	if plain := Lines("a.txt", "a: 1"); plain[0].HTML != "a: 1" {
		t.Errorf("text has colours: %s", plain[0].HTML)
	}
}

func TestLongLinesAreCut(t *testing.T) {
	lines := Lines("a.yaml", strings.Repeat("ä", maxLine)+"\nb: 1")
	if !lines[0].Cut || len(lines[0].HTML) > maxLine+100 || lines[1].Cut || !strings.Contains(string(lines[1].HTML), `class="k"`) {
		t.Errorf("%v %d %s", lines[0].Cut, len(lines[0].HTML), lines[1].HTML)
	}
}

// FuzzLines checks that a listing shows the text and nothing else, whatever the text is.
func FuzzLines(f *testing.F) {
	for _, text := range []string{"a: |\n  b\n c", "'", "\"\\x", "{[", "- - -", "a: &b *c", "%x\n---\n...", "\t: ?", "a:\r\n  b: 1\r\n", "<script>", "a: !!binary <b>", "? a\n: b", "\u2028", "a: 'b''c'", "- \"a\\\n  b\"", strings.Repeat("- ", 5000)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var lines []Line
		testfuzz.Proportionate(t, len(text), func() { lines = Lines("a.yaml", text) })
		for _, l := range lines {
			if l.Cut {
				return
			}
		}
		want := strings.Join(Split(text), "\n")
		if got := shown(t, lines); got != want && IsText([]byte(text)) {
			t.Errorf("%q is listed as %q", want, got)
		}
	})
}
