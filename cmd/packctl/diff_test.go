package main

import (
	"encoding/json"
	"strings"
	"testing"

	"packregistry.dev/client"
	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{PlainHTTP: true})
	home := t.TempDir()
	old := testpack.Dir(t, "demo", "1.0.0", map[string]string{"values.yaml": "pack: {}\na: 1\nb: 2\n", "notes.txt": "x"})
	changed := testpack.Dir(t, "demo", "1.1.0", map[string]string{"values.yaml": "pack: {}\na: 1\nb: 3\n", "extra.txt": "y"})
	digest := ""
	for _, tt := range []struct {
		line  string
		code  int
		words string
	}{
		{"registry login " + r.Host + " -u ann --password-stdin -i", 0, "Succeeded"},
		{"pack push " + old, 0, "pushed"},
		{"pack push " + changed, 0, "pushed"},
		{"pack diff demo:1.0.0 demo:1.0.x", 0, "demo:1.0.0 and demo:1.0.0 are the same"},
		{"pack diff --exit-code demo:1.0.0 " + old, 0, "the same"},
		{"pack diff demo:1.0.0 demo", 0, "-b: 2\n+b: 3\n"},
		{"pack diff demo:1.0.0 demo", 0, "--- demo:1.0.0/values.yaml\n+++ demo:1.1.0/values.yaml\n"},
		{"pack diff demo:1.0.0 demo:1.1.0", 0, "removed   notes.txt"},
		{"pack diff demo:1.1.0 demo:1.0.0", 0, "added     notes.txt"},
		{"pack diff demo:1.0.0 demo:1.1.0", 0, `-  "version": "1.0.0",`},
		{"pack diff --exit-code demo:1.0.0 demo:1.1.0", 6, "changed   values.yaml"},
		{"pack diff demo:1.0.0 " + changed, 0, "+b: 3\n"},
		{"pack diff demo:1.1.0 " + changed, 0, "the same"},
		{"pack diff demo:1.0.0 demo@DIGEST", 0, "demo@sha256:"},
		{"pack diff demo:1.0.0 demo:3.0.0", 5, "there is no demo:3.0.0"},
		{"pack diff demo:1.0.0 other", 5, "there is no pack other"},
		{"pack diff demo:1.0.0 ./nowhere", 1, "nowhere"},
		{"pack diff demo:1.0.0", 2, "accepts 2 arg"},
		{"pack diff demo:1.0.0 demo -o xml", 2, "xml"},
	} {
		code, out := run(t, home, strings.ReplaceAll(tt.line, "DIGEST", digest))
		if code != tt.code || !strings.Contains(out, tt.words) {
			t.Errorf("packctl %s: exit code %d, want %d and %q; %s", tt.line, code, tt.code, tt.words, out)
		}
		if _, found, ok := strings.Cut(out, "digest  "); ok {
			digest = strings.TrimSpace(found)
		}
	}
	_, out := run(t, home, "pack diff demo:1.0.0 demo:1.1.0 --output json")
	var d client.Difference
	if err := json.Unmarshal([]byte(out), &d); err != nil || d.Same || d.A.Tag != "1.0.0" || d.A.Digest == "" || len(d.Files) != 4 || !strings.Contains(d.Values, "+b: 3") {
		t.Errorf("%v, %s", err, out)
	}
	if _, out := run(t, home, "pack diff demo:1.0.0 demo -o yaml"); !strings.Contains(out, "same: false") {
		t.Error(out)
	}
}

// Texts as large as a pack may hold, of which every line differs, are compared.
func TestDiffOfHugeValues(t *testing.T) {
	t.Parallel()
	text := func(prefix string) string {
		return strings.Repeat(prefix+"\n", (4<<20)/(len(prefix)+1))
	}
	a := testpack.Dir(t, "demo", "1.0.0", map[string]string{"values.yaml": text("# a" + strings.Repeat("x", 60))})
	b := testpack.Dir(t, "demo", "1.0.0", map[string]string{"values.yaml": text("# b" + strings.Repeat("x", 60))})
	if code, out := run(t, t.TempDir(), "pack diff --exit-code "+a+" "+b); code != 6 || !strings.Contains(out, "\n+# bxxx") {
		t.Errorf("%d, %.200s", code, out)
	}
}
