package main

import (
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"strings"
	"sync"
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

// counts counts requests by method and what they are about.
type counts struct {
	mu     sync.Mutex
	counts map[string]int
	bytes  int64
}

func (c *counts) edit(s *httptest.Server) {
	next := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		what := "other"
		for _, kind := range []string{"uploads", "blobs", "manifests", "tags", "referrers"} {
			if strings.Contains(r.URL.Path, "/"+kind+"/") {
				what = kind
				break
			}
		}
		if r.URL.Query().Has("mount") {
			what = "mounts"
		}
		c.counts[r.Method+" "+what]++
		c.bytes += max(r.ContentLength, 0)
		c.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func (c *counts) reset() (was map[string]int, sent int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, sent = c.counts, c.bytes
	c.counts, c.bytes = map[string]int{}, 0
	return was, sent
}

// What is there is not sent again, what the same registry has elsewhere is mounted, and what refers to a version comes along, before its tag.
func TestCopySendsWhatIsMissing(t *testing.T) {
	t.Parallel()
	seen := &counts{counts: map[string]int{}}
	var order []string
	here := testregistry.New(t, testregistry.Options{PlainHTTP: true})
	there := testregistry.New(t, testregistry.Options{PlainHTTP: true, Edit: func(s *httptest.Server) {
		seen.edit(s)
		next := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
				seen.mu.Lock()
				order = append(order, path.Base(r.URL.Path))
				seen.mu.Unlock()
			}
			next.ServeHTTP(w, r)
		})
	}})
	home := t.TempDir()
	runLines(t, home,
		lineTest{"registry login " + here.Host + " -u ann --password-stdin -i -d", 0, "Succeeded"},
		lineTest{"registry login " + there.Host + " -u ann --password-stdin -i", 0, "Succeeded"},
		lineTest{"pack push " + testpack.Dir(t, "demo", "1.0.0", nil) + " " + testpack.Dir(t, "demo", "1.1.0", nil), 0, "2 pushed"},
	)
	sign(t, here, "demo", "1.0.0")
	seen.reset()
	runLines(t, home, lineTest{"pack copy demo:1.0.0 " + there.Host, 0, "copied demo:1.0.0"})
	if n, _ := seen.reset(); n["PUT uploads"] < 3 || n["PUT manifests"] != 3 || order[2] != "1.0.0" { // archive, {}, signature; version, signature, tag
		t.Errorf("%v, %v", n, order)
	}
	runLines(t, home, lineTest{"pack copy demo:1.0.0 " + there.Host, 0, "unchanged demo:1.0.0"})
	if n, sent := seen.reset(); sent != 0 || n["POST uploads"] != 0 || n["PUT manifests"] != 0 {
		t.Errorf("%v, %d bytes", n, sent)
	}
	runLines(t, home, lineTest{"pack copy demo " + there.Host, 0, "unchanged demo:1.0.0"})
	if n, _ := seen.reset(); n["PUT uploads"] != 1 {
		t.Errorf("%v", n)
	}
	runLines(t, home, lineTest{"pack copy " + there.Host + "/demo oci://" + there.Host + "/prod", 0, "copied demo:1.1.0"})
	if n, _ := seen.reset(); n["PUT uploads"] != 0 || n["POST mounts"] == 0 {
		t.Errorf("%v", n)
	}
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	runLines(t, home, lineTest{"pack save demo -o " + a, 0, "2 versions"}, lineTest{"pack save demo -o " + b + " -r oci://" + there.Host + "/prod", 0, "2 versions"})
	if string(read(t, a)) != string(read(t, b)) {
		t.Error("the copy lacks something")
	}
}
