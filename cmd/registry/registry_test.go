package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

func registry(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigCheck(t *testing.T) {
	if out, err := registry(t, "config", "--check"); err != nil || !strings.Contains(out, "is valid") {
		t.Errorf("the default: %q, %v", out, err)
	}
	path := file(t, "version: 0.1\nstorage: inmemory\nauht: {}\n")
	if _, err := registry(t, "config", "--check", path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "did you mean auth?") {
		t.Errorf("%v", err)
	}
	if out, err := registry(t, "config", "--check", "--lenient", path); err != nil || !strings.Contains(out, "warning: auht (line 3)") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestServeRefusesWhatCannotBe(t *testing.T) {
	for text, words := range map[string]string{
		"version: 0.1\nstorage: inmemory\nauth: {htpasswd: {path: /none}}\n":                  "auth.htpasswd.path",
		"version: 0.1\nstorage: inmemory\nhttp: {tls: {certificate: /none, key: /none}}\n":    "http.tls",
		"version: 0.1\nstorage: {filesystem: {rootdirectory: /proc/none}}\n":                  "storage.filesystem.rootdirectory",
		"version: 0.1\nstorage: inmemory\nhttp: {addr: '192.0.2.1:5000'}\n":                   "http.addr",
		"version: 0.1\nstorage: inmemory\nhttp: {addr: ':0', debug: {addr: '192.0.2.1:1'}}\n": "http.debug.addr",
	} {
		if _, err := registry(t, "serve", file(t, text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := registry(t, "serve", "/none/config.yml"); err == nil || !strings.Contains(err.Error(), "/none/config.yml") {
		t.Errorf("no file: %v", err)
	}
}

func TestGarbageCollect(t *testing.T) {
	dir := t.TempDir()
	path := file(t, "version: 0.1\nstorage: {filesystem: {rootdirectory: "+dir+"}, maintenance: {garbagecollection: {grace: 1ns, keepuntagged: 1ns}}}\nhttp: {addr: '127.0.0.1:0'}\n")
	p := launch(t, nil, []string{"serve", path}, nil)
	d := p.pushBlob("r", "garbage")
	p.want("HEAD", "/v2/r/blobs/"+d.String(), nil, 200)
	for _, want := range []string{`"marked":1`, `"links":1`, `"blobs":1,"bytes":7`} {
		for _, arguments := range [][]string{{"garbage-collect", "--dry-run", path}, {"garbage-collect", path}} {
			// A mark may be some milliseconds in the future, by the storage's clock.
			testserver.Eventually(t, fmt.Sprint(arguments, " says ", want), time.Minute, func() bool {
				out, err := registry(t, arguments...)
				if err != nil {
					t.Fatalf("%v: %s, %v", arguments, out, err)
				}
				return strings.Contains(out, want)
			})
		}
	}
	p.want("HEAD", "/v2/r/blobs/"+d.String(), nil, 404)
	p.pushBlob("r", "garbage")
	p.want("GET", "/v2/r/blobs/"+d.String(), nil, 200)
}

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	path := file(t, "version: 0.1\nstorage: {filesystem: {rootdirectory: "+dir+"}}\nhttp: {addr: '127.0.0.1:0'}\n")
	p := launch(t, nil, []string{"serve", path}, nil)
	d := p.pushBlob("r", "content")
	if out, err := registry(t, "verify", path); err != nil || !strings.Contains(out, `"blobs":1,"bytes":7,"problems":0`) {
		t.Errorf("%s, %v", out, err)
	}
	bytes := filepath.Join(dir, "objects", "b", "sha256", d.Encoded()[:2], d.Encoded()+".0")
	if err := os.WriteFile(bytes, []byte("CONTENT"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := registry(t, "verify", path); err == nil || !strings.Contains(out, "corrupt-blob") || !strings.Contains(out, d.String()) {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := registry(t, "verify", "--quarantine", path); err == nil || !strings.Contains(out, `"quarantined":1`) {
		t.Errorf("%s, %v", out, err)
	}
	p.want("GET", "/v2/r/blobs/"+d.String(), nil, 404)
	p.pushBlob("r", "content")
	if _, got := p.want("GET", "/v2/r/blobs/"+d.String(), nil, 200); string(got) != "content" {
		t.Errorf("pushed again: %q", got)
	}
}

func TestVersion(t *testing.T) {
	if out, err := registry(t, "version"); err != nil || !strings.HasPrefix(out, "registry ") {
		t.Errorf("%q, %v", out, err)
	}
}
