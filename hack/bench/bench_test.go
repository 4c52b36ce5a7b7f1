package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve-bare" { // as the bench starts itself
		main()
		return
	}
	os.Exit(m.Run())
}

// Every load runs once, small, on each driver, beside a peer and the bare limit.
func TestEveryLoad(t *testing.T) {
	registry := filepath.Join(t.TempDir(), "registry")
	build := exec.Command("go", "build", "-o", registry, "packregistry.dev/cmd/registry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	addr := testserver.FreeAddr(t)
	config := filepath.Join(t.TempDir(), "peer.yml")
	if err := os.WriteFile(config, []byte("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: inmemory\nhttp: {addr: '"+addr+"'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	testserver.Exec(t, nil, registry, "serve", config)
	work := t.TempDir()
	document := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(document, []byte("before\n<!-- bench all -->\nold\n<!-- end -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"--registry", registry, "--versitygw", filepath.Join(testserver.Tool(t, "versitygw"), "versitygw"),
		"--crane", filepath.Join(testserver.Tool(t, "crane"), "crane"), "--distribution", filepath.Join(testserver.Tool(t, "distribution"), "registry"),
		"--quick", "--dir", work, "--peer", "http://" + addr, "--before", registry, "--document", document, "--section", "all"})
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the peer answers", 10*time.Second, func() bool { return answers(t.Context(), http.DefaultClient, o.peer+"/health") })
	out, w := io.Pipe()
	printed := make(chan string)
	go func() {
		text, _ := io.ReadAll(out) //nolint:errcheck // a pipe's
		printed <- string(text)
	}()
	err = run(t.Context(), o, w)
	w.Close()
	text := <-printed
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	all, err := selected(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if !strings.Contains(text, l.String()) {
			t.Errorf("the report lacks %s", l)
		}
	}
	// req/s, and the ratio to each peer, of a load that cannot have failed.
	if !regexp.MustCompile(`(?m)^filesystem: get manifest by tag, 2 clients, auth +packregistry +[1-9]\d*`).MatchString(text) ||
		!regexp.MustCompile(`(?m)^ +peer +[1-9]\d* .* \d+\.\d\d$`).MatchString(text) || !regexp.MustCompile(`(?m)^ +bare +[1-9]\d* .* \d+\.\d\d$`).MatchString(text) ||
		!regexp.MustCompile(`(?m)^filesystem: push 1 MiB, 2 clients, https and auth .*\n +peer .*\n +before .*\n +distribution +[1-9]\d* .* \d+\.\d\d$`).MatchString(text) ||
		!regexp.MustCompile(`(?m)^ +crane +[1-9]\d* .* \d+\.\d\d$`).MatchString(text) {
		t.Errorf("no figures in\n%s", text)
	}
	written, err := os.ReadFile(document)
	if err != nil || !regexp.MustCompile(`(?m)^\| filesystem: push 1 MiB, 2 clients, open \| [1-9]\d* \|.*\| [1-9]\d* \| \d+\.\d\d \|`).Match(written) || strings.Contains(string(written), "old") ||
		!strings.HasPrefix(string(written), "before\n<!-- bench all -->\n") || !strings.HasSuffix(string(written), "<!-- end -->\nafter\n") ||
		!strings.Contains(string(written), " to before | to crane | to distribution |") {
		t.Errorf("%v, document:\n%s", err, written)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestFlagsThatCannotWork(t *testing.T) {
	for args, want := range map[string]string{
		"--only (":       "--only",
		"--drivers tape": `"tape" is none of`,
		"--drivers s3":   "--versitygw",
		"--only nothing-of-this --drivers inmemory": "no load matches",
		"--rounds 0":      "--rounds 0",
		"--document a.md": "--section",
		"loads":           "no arguments",
		"--registry /nowhere --only 1.MiB --drivers inmemory": "nowhere",
	} {
		o, err := parse(strings.Fields(args))
		if err == nil {
			err = run(t.Context(), o, io.Discard)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	if _, err := dial(t.Context(), "https://127.0.0.1:1", nil, false); err == nil || !strings.Contains(err.Error(), "over http alone") {
		t.Error(err)
	}
}

func TestADocumentWithoutTheSectionIsNotWritten(t *testing.T) {
	for text, want := range map[string]string{
		"no comment":                 "there is no line",
		"<!-- bench a -->\nno end\n": "no <!-- end -->",
	} {
		file := filepath.Join(t.TempDir(), "performance.md")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&report{}).write(file, "a"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != text {
			t.Errorf("%q became %q, %v", text, now, err)
		}
	}
}
