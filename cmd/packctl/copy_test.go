package main

import (
	"strings"
	"testing"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

func TestCopy(t *testing.T) {
	t.Parallel()
	here := testregistry.New(t, testregistry.Options{})
	there := testregistry.New(t, testregistry.Options{PlainHTTP: true})
	home := t.TempDir()
	changed := testpack.Dir(t, "demo", "1.1.0", map[string]string{"README.md": "changed"})
	for _, tt := range []struct {
		line  string
		code  int
		words string
	}{
		{"registry login " + here.Host + " -u ann --password-stdin -i -d", 0, "Succeeded"},
		{"registry login " + there.Host + " -u ann --password-stdin -i", 0, "Succeeded"},
		{"pack push " + testpack.Dir(t, "demo", "1.0.0", nil) + " " + testpack.Dir(t, "demo", "1.1.0", nil) + " " + testpack.Dir(t, "demo", "2.0.0", nil), 0, "3 pushed"},
		{"pack tag add demo:1.1.0 stable", 0, "stable"},
		{"pack copy none " + there.Host, 5, "there is no pack none"},
		{"pack copy demo:3.x " + there.Host, 5, "there is no demo:3.x"},
		{"pack copy demo:1.x " + there.Host + " --versions 1", 2, "not both"},
		{"pack copy demo " + there.Host + " --versions !", 1, "versions"},
		{"pack copy demo " + there.Host + " --versions >3", 5, "the newest is 2.0.0"},
		{"pack copy demo:1.0.x " + there.Host, 0, "copied demo:1.0.0"},
		{"pack copy " + here.Host + "/demo " + there.Host + " --versions <1.2", 0, "copied demo:1.1.0"},
		{"pack copy " + here.Host + "/demo " + there.Host + " --versions <1.2", 0, "unchanged demo:1.1.0"},
		{"pack tag ls demo -r " + there.Host, 0, "1.1.0"},
		{"pack copy demo " + there.Host, 0, "copied demo:stable"},
		{"pack push -f -m why " + changed, 0, "replaced"},
		{"pack copy demo:1.1.0 " + there.Host, 3, "--force replaces it"},
		{"pack copy demo:1.1.0 " + there.Host + " --force", 0, "copied demo:1.1.0"},
	} {
		if code, out := run(t, home, tt.line); code != tt.code || !strings.Contains(out, tt.words) {
			t.Errorf("packctl %s: exit code %d, want %d and %q; %s", tt.line, code, tt.code, tt.words, out)
		}
	}
	_, from := run(t, home, "pack tag ls demo")
	_, to := run(t, home, "pack tag ls demo -r "+there.Host)
	if strings.Count(from, "sha256:") != 4 || strings.Count(to, "sha256:") != 4 {
		t.Errorf("%s\n%s", from, to)
	}
}
