package main

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

const mebibyte = 1 << 20

// largePack is a pack of 20 MiB, which are three chunks, that does not compress.
func largePack(t *testing.T) string {
	t.Helper()
	data := make([]byte, 20*mebibyte)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return testpack.Dir(t, "large", "1.0.0", map[string]string{"data.bin": string(data)})
}

// cutting counts what is sent of blobs, and lets what happen in the middle of a chunk that begins at 16 MiB, once.
type cutting struct {
	sent   atomic.Int64
	once   sync.Once
	middle func(w http.ResponseWriter, r *http.Request)
}

func (c *cutting) edit(s *httptest.Server) {
	next := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch || r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/uploads/") {
			if strings.HasPrefix(r.Header.Get("Content-Range"), "16777216-") {
				c.once.Do(func() {
					io.CopyN(io.Discard, r.Body, 2*mebibyte)
					c.sent.Add(2 * mebibyte)
					c.middle(w, r)
				})
			}
			r.Body = &countedBody{r.Body, &c.sent}
		}
		next.ServeHTTP(w, r)
	})
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// A connection that is cut near the end of a large pack costs a chunk, not the pack.
func TestACutUploadGoesOn(t *testing.T) {
	t.Parallel()
	c := &cutting{middle: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}
	r := testregistry.New(t, testregistry.Options{PlainHTTP: true, Edit: c.edit})
	home, dir := t.TempDir(), largePack(t)
	runLines(t, home,
		lineTest{"registry login " + r.Host + " -u ann --password-stdin -i", 0, "Succeeded"},
		lineTest{"pack push " + dir, 0, "pushed large:1.0.0"},
		lineTest{"pack pull large " + t.TempDir(), 0, "pulled"},
	)
	if sent := c.sent.Load(); sent < 22*mebibyte || sent > 28*mebibyte {
		t.Errorf("%d bytes were sent", sent)
	}
	if left, err := os.ReadDir(filepath.Join(home, "uploads")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// A process that was killed is repeated, and sends what was missing.
func TestAnUploadOfAKilledProcessGoesOn(t *testing.T) {
	t.Parallel()
	reached, killed := make(chan struct{}), make(chan struct{})
	c := &cutting{middle: func(http.ResponseWriter, *http.Request) {
		close(reached)
		<-killed
		panic(http.ErrAbortHandler)
	}}
	r := testregistry.New(t, testregistry.Options{PlainHTTP: true, Edit: c.edit})
	home, dir := t.TempDir(), largePack(t)
	runLines(t, home, lineTest{"registry login " + r.Host + " -u ann --password-stdin -i", 0, "Succeeded"})
	cmd := process(t, home, "pack", "push", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reached
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	close(killed)
	before := c.sent.Load()
	runLines(t, home, lineTest{"pack push " + dir, 0, "pushed large:1.0.0"}, lineTest{"pack pull large " + t.TempDir(), 0, "pulled"})
	if again := c.sent.Load() - before; again > 8*mebibyte {
		t.Errorf("%d bytes were sent again", again)
	}
}

// A registry that takes no chunks is sent the whole, and what is kept of an upload that is gone is forgotten.
func TestUploadsWithoutChunks(t *testing.T) {
	t.Parallel()
	home, dir := t.TempDir(), largePack(t)
	noted := make(chan string, 10)
	r := testregistry.New(t, testregistry.Options{PlainHTTP: true, Edit: func(s *httptest.Server) {
		next := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPatch {
				if files, err := filepath.Glob(filepath.Join(home, "uploads", "*")); err == nil && len(files) == 1 {
					noted <- files[0]
				}
				http.Error(w, `{"errors":[{"code":"UNSUPPORTED","message":"no chunks"}]}`, http.StatusMethodNotAllowed)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	runLines(t, home, lineTest{"registry login " + r.Host + " -u ann --password-stdin -i", 0, "Succeeded"}, lineTest{"pack push " + dir, 0, "pushed large:1.0.0"})
	if left, err := filepath.Glob(filepath.Join(home, "uploads", "*")); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	other := testregistry.New(t, testregistry.Options{PlainHTTP: true})
	if err := os.WriteFile(<-noted, []byte(`{"location":"http://`+other.Host+`/v2/x/blobs/uploads/y"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	runLines(t, home, lineTest{"pack delete -f large:1.0.0", 0, "deleted"}, lineTest{"pack push " + dir, 0, "pushed large:1.0.0"})
}
