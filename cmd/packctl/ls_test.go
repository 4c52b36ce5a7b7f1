package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

// runs runs command lines and compares exit codes and words; a word that begins with ! must not be there.
func runs(t *testing.T, home string, lines []commandLine) {
	t.Helper()
	for _, tt := range lines {
		code, out := run(t, home, tt.line)
		if code != tt.code {
			t.Errorf("packctl %s: exit code %d, want %d; %s", tt.line, code, tt.code, out)
		}
		for _, words := range tt.words {
			unwanted, not := strings.CutPrefix(words, "!")
			if not && strings.Contains(out, unwanted) || !not && !strings.Contains(out, words) {
				t.Errorf("packctl %s: want %q in %s", tt.line, words, out)
			}
		}
	}
}

type commandLine struct {
	line  string
	code  int
	words []string
}

// withGroup is a pack.json with a group.
func withGroup(name, version, group string) map[string]string {
	return map[string]string{"pack.json": strings.Replace(testpack.Metadata(name, version), `"layer"`, fmt.Sprintf(`"group": %q, "layer"`, group), 1)}
}

func TestLists(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	home := t.TempDir()
	dirs := []string{testpack.Dir(t, "ubuntu", "22.04.4", withGroup("ubuntu", "22.04.4", "LTS"))}
	for _, version := range []string{"1.2.0", "1.10.0", "1.10.0-rc.1"} {
		dirs = append(dirs, testpack.Dir(t, "web", version, nil))
	}
	runs(t, home, []commandLine{
		{"registry login " + r.Host + " -u ann --password-stdin --ca-file " + r.CAFile, 0, nil},
		{"pack push " + strings.Join(dirs, " "), 0, []string{"4 pushed"}},
		{"pack tag add web:1.10.0 stable", 0, nil},
		{"pack ls", 0, []string{"PACK     LAYER", "ubuntu", "LTS__22.04.4", "1.10.0", "!1.2.0"}},
		{"pack ls --wide", 0, []string{"DISPLAY NAME   DIGEST"}},
		{"pack ls -q", 0, []string{"ubuntu\nweb\n", "!PACK"}},
		{"pack ls --filter pack=WEB -q", 0, []string{"web\n", "!ubuntu"}},
		{"pack ls --filter pack=web --filter pack=ubuntu -q", 0, []string{"ubuntu\nweb\n"}},
		{"pack ls --filter pack=web --filter newest=1 -q", 0, []string{"!web"}},
		{"pack ls --filter layer=none -o json", 0, []string{"[]\n"}},
		{"pack ls --filter color=red", 2, []string{"columns are pack, layer, type, newest"}},
		{"pack ls --filter layer", 2, []string{"COLUMN=VALUE"}},
		{"pack ls web --filter layer=csi", 2, []string{"columns are pack, tag, group"}},
		{"pack ls web -q", 0, []string{"web:1.10.0\nweb:1.10.0-rc.1\nweb:1.2.0\n"}},
		{"pack ls web", 0, []string{"TAG           GROUP   PARENTS      ALIASES", "1.10.0                1.10.x 1.x   stable", "!LTS"}},
		{"pack ls ubuntu", 0, []string{"LTS__22.04.4   LTS     LTS__22.4.x LTS__22.x"}},
		{"pack ls --all -q", 0, []string{"ubuntu:LTS__22.04.4\nweb:1.10.0\n"}},
		{"pack ls --all --filter group=lts -q", 0, []string{"ubuntu:", "!web"}},
		{"pack ls -o xml", 2, []string{`"xml" is unknown; use table, json, yaml`}},
		{"pack ls none", 5, []string{"there is no pack none"}},
		{"pack ls --all -n web " + r.Host, 0, []string{"1.2.0"}},
		{"pack search UB -q", 0, []string{"ubuntu\n", "!web"}},
		{"pack search nothing here", 0, []string{"no pack fits nothing here"}},
		{"pack search nothing -o json", 0, []string{"[]\n"}},
		{"pack search", 2, nil},
		{"pack tag ls web -q", 0, []string{"1.10.0\n1.10.0-rc.1\n1.2.0\nstable\n"}},
		{"registry ls -q", 0, []string{r.Host + "\n", "!SERVER"}},
		{"pack tag add web:1.2.0 old -q", 0, []string{"!web"}},
		{"pack validate -q " + dirs[1], 0, []string{"!web"}},
		{"pack push -q " + dirs[1], 0, []string{"!web"}},
	})
}

// A group is written in one way: LTS and lts are two.
func TestGroupsThatDifferInCase(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	home := t.TempDir()
	upper := testpack.Dir(t, "ubuntu", "22.04.4", withGroup("ubuntu", "22.04.4", "LTS"))
	lower := testpack.Dir(t, "ubuntu", "24.04.1", withGroup("ubuntu", "24.04.1", "lts"))
	const warning = `the group "lts" differs in case from "LTS" of ubuntu:LTS__22.04.4`
	runs(t, home, []commandLine{
		{"registry login " + r.Host + " -u ann --password-stdin --ca-file " + r.CAFile, 0, nil},
		{"pack validate " + lower + " -r " + r.Host, 0, []string{"!differs in case"}},
		{"pack push " + upper, 0, []string{"!differs in case"}},
		{"pack validate " + upper + " -r " + r.Host, 0, []string{"!differs in case"}},
		{"pack validate " + lower, 0, []string{"!differs in case"}},
		{"pack validate " + lower + " -r " + r.Host, 0, []string{warning}},
		{"pack validate --strict " + lower + " -r " + r.Host + " -o json", 3, []string{`"rule": "group-case"`}},
		{"pack push --quiet --dry-run " + lower, 0, []string{"!differs in case"}},
		{"pack push " + lower, 0, []string{warning, "pushed ubuntu:lts__24.04.1"}},
	})
}

// hostileRegistry serves a registry whose names, tags and messages are for terminals.
func hostileRegistry(t *testing.T) string {
	t.Helper()
	const evil = `\u001b]0;owned\u0007\u009b2J\u202e`
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/_catalog"):
			fmt.Fprint(w, `{"repositories": ["spectro-packs/archive/x`+evil+`", "spectro-packs/archive/fine"]}`)
		case strings.HasSuffix(r.URL.Path, "/fine/tags/list"):
			fmt.Fprint(w, `{"tags": ["1.0.0", "y`+evil+`"]}`)
		case r.URL.Path == "/v2/":
		default:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"errors": [{"code": "DENIED", "message": "no`+evil+`"}]}`)
		}
	}))
	t.Cleanup(h.Close)
	return h.URL
}

// Nothing that a registry says moves a terminal's cursor or changes its state, in any form of output.
func TestNothingHostileIsPrinted(t *testing.T) {
	t.Parallel()
	home, server := t.TempDir(), hostileRegistry(t)
	r := testregistry.New(t, testregistry.Options{})
	const evil = "\x1b]0;owned\x07\u009b2J\u202e"
	hostile := testpack.Dir(t, "hostile", "1.0.0", map[string]string{
		"pack.json": strings.Replace(testpack.Metadata("hostile", "1.0.0"), "Test", `T\u001b]0;owned\u0007\u009b2J\u202e`, 1),
		"README.md": "# Read" + evil + "me", "values.yaml": "pack: {content: {images: [{image: \"x\\e]0;owned\\u202e\"}]}}\n",
	})
	runs(t, home, []commandLine{
		{"registry login " + r.Host + " -u ann --password-stdin --ca-file " + r.CAFile, 0, nil},
		{"pack push " + hostile, 0, nil},
		{"pack ls -r " + server + " -i -q", 0, []string{"fine\n"}}, // the rest of the list is spared
		{"pack describe hostile", 0, []string{"Read]0;owned2Jme"}},
	})
	for _, line := range []string{
		"pack ls", "pack ls -o json", "pack ls -q", "pack search x", "pack search x -o json", "pack tag ls fine", "pack ls fine", "pack ls fine -o json", "pack describe fine",
		"pack pull fine", "pack delete -f fine:1.0.0", "pack tag add fine:1.0.0 x", "pack push " + testpack.Dir(t, "fine", "2.0.0", nil), "__complete pack -i -r SERVER pull f",
		"__complete pack -i -r SERVER pull fine:", "pack describe hostile -o json", "pack ls --wide", "pack search hostile --wide", "pack validate " + hostile,
		"pack ls --all", "pack ls --all -o json",
	} {
		if !strings.Contains(line, "hostile") && !strings.HasPrefix(line, "__complete") {
			line += " -i -r " + server
		}
		_, out := run(t, home, strings.ReplaceAll(line, "SERVER", server))
		if strings.ContainsAny(out, "\x1b\x07\u009b\u202e") {
			t.Errorf("packctl %s prints %q", line, out)
		}
	}
}

// What a person sees on a terminal, and with NO_COLOR or a terminal that can do nothing.
func TestColorsOnTerminalsOnly(t *testing.T) {
	t.Parallel()
	invalid := testpack.Dir(t, "demo", "1.0.0", map[string]string{"values.yaml": ""})
	for _, tt := range []struct {
		env    []string
		colors bool
	}{
		{[]string{"TERM=xterm", "NO_COLOR="}, true},
		{[]string{"TERM=xterm", "NO_COLOR=1"}, false},
		{[]string{"TERM=dumb", "NO_COLOR="}, false},
	} {
		person, program := pseudoTerminal(t)
		cmd := process(t, t.TempDir(), "pack", "validate", invalid)
		cmd.Env = append(cmd.Env, tt.env...)
		cmd.Stdout, cmd.Stderr = program, program
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() //nolint:errcheck // it is not valid
		program.WriteString("END")
		if out := readUntil(t, person, "END"); strings.Contains(out, "\x1b[") != tt.colors || !strings.Contains(out, "values.yaml") {
			t.Errorf("%v: %q", tt.env, out)
		}
	}
}

func readUntil(t *testing.T, from *os.File, words string) string {
	t.Helper()
	var got []byte
	for b := make([]byte, 4096); !strings.Contains(string(got), words); {
		n, err := from.Read(b)
		if err != nil {
			t.Fatalf("waiting for %q: %q, %v", words, got, err)
		}
		got = append(got, b[:n]...)
	}
	return string(got)
}
