package terminal

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// hostile is what a registry or a pack may say to a terminal: a title, a cleared screen, a C1 introducer, a bell, another direction.
const hostile = "a\x1b]0;owned\x07\x1b[2Jb\u009b31m\rc\u202ed\x7f\xff\u2028e"

func TestNothingHostileReachesATerminal(t *testing.T) {
	if got := Safe("x\n\t" + hostile); got != "x\n\ta]0;owned[2Jb31mcde" {
		t.Errorf("%q", got)
	}
	if got := Line("x\ny" + hostile); got != "x ya]0;owned[2Jb31mcde" {
		t.Errorf("%q", got)
	}
	if Safe("Grüße, 世界 🎉 👩‍💻") != "Grüße, 世界 🎉 👩‍💻" {
		t.Error("other languages are not spared")
	}
	want := map[string]string{"key" + hostile: hostile}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	escaped := JSON(string(text))
	if strings.ContainsFunc(escaped, func(r rune) bool { return unsafe(r) && r != '\ufffd' }) {
		t.Errorf("%q", escaped)
	}
	var a, b map[string]string
	if json.Unmarshal(text, &a) != nil || json.Unmarshal([]byte(escaped), &b) != nil || len(a) != 1 || a["key"] != b["key"] {
		t.Errorf("%q and %q differ", a, b)
	}
	var out bytes.Buffer
	table := NewTable("A", "B").AlignRight(1)
	table.Add("x\x1b[31m\ny", "1")
	table.Add("世界", "100")
	table.Add("", "")
	if err := table.Write(&out); err != nil || out.String() != "A           B\nx[31m y     1\n世界      100\n\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestTableWithoutHeadings(t *testing.T) {
	var out bytes.Buffer
	table := NewTable()
	if err := table.Write(&out); err != nil || out.Len() > 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
	table.Add("Pack", "demo")
	table.Add("Digest", "sha256:1")
	if err := table.Write(&out); err != nil || out.String() != "Pack     demo\nDigest   sha256:1\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestNoColorsWhereNobodyLooks(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	t.Setenv("FORCE_COLOR", "1")
	t.Setenv("TERM", "xterm")
	if ColorsFor(file) || ColorsFor(&bytes.Buffer{}) {
		t.Error("a file is painted")
	}
	if got := Colors(false).Bad("x"); got != "x" {
		t.Errorf("%q", got)
	}
}

func TestPlainProgress(t *testing.T) {
	var out bytes.Buffer
	now := time.Now()
	p := NewProgress(&out)
	p.now = func() time.Time { return now }
	sent, done := p.Start("demo:1.0.0\x1b[2J")
	sent(1<<20, 4<<20)
	now = now.Add(plainInterval)
	sent(2<<20, 4<<20)
	sent(3<<20, 4<<20) // too soon for another line
	now = now.Add(plainInterval)
	sent(4<<20, 4<<20) // its end is somebody else's to report
	done()
	p.Println("a line\x1b[2J")
	p.End()
	if want := "demo:1.0.0[2J: 2.0 MiB of 4.0 MiB (50%)\na line[2J\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
	var none *Progress
	sent, done = none.Start("x")
	sent(1, 2)
	done()
	none.Println("x")
	none.End()
}

func TestQuantities(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 10: "1.0 KiB", 1 << 20: "1.0 MiB", 5 << 29: "2.5 GiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	now := time.Now()
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 119 * time.Minute: "1 hour ago", 50 * time.Hour: "2 days ago",
		31 * 24 * time.Hour: "1 month ago", 800 * 24 * time.Hour: "2 years ago",
	} {
		if got := Ago(now.Add(-d), now); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
