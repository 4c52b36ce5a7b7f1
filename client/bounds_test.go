package client

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/internal/testfuzz"
)

// hostile is a client of a registry that answers so.
func hostile(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	h := httptest.NewServer(answer)
	t.Cleanup(h.Close)
	c, err := Connect(Server{Host: strings.TrimPrefix(h.URL, "http://"), PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a server says of sizes is believed within bounds only: nothing is set aside, and nothing fetched, for more.
func TestSizesOfAHostileRegistryAreBounded(t *testing.T) {
	manifest := func(size int64) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"c","digest":%q,"size":2},"layers":[{"mediaType":"a/b","digest":%q,"size":%d}]}`,
			ocispec.MediaTypeImageManifest, digest.FromString("{}"), digest.FromString("x"), size)
	}
	for name, answer := range map[string]func(w http.ResponseWriter){
		"a manifest of many bytes": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<33))
			w.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
		},
		"an archive of many bytes": func(w http.ResponseWriter) {
			w.Header().Set("Docker-Content-Digest", digest.FromString(manifest(1<<62)).String())
			fmt.Fprint(w, manifest(1<<62))
		},
		"an archive of less than none": func(w http.ResponseWriter) {
			w.Header().Set("Docker-Content-Digest", digest.FromString(manifest(-1)).String())
			fmt.Fprint(w, manifest(-1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := hostile(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/blobs/") {
					t.Errorf("%s was asked for", r.URL.Path)
				}
				w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
				answer(w)
			})
			var err error
			memory, _ := testfuzz.Cost(func() { _, err = c.Pull(t.Context(), "demo", "1.0.0", t.TempDir()) })
			if err == nil || !strings.Contains(err.Error(), "bytes, the server says") || memory > 16<<20 {
				t.Errorf("%v, with %d KiB", err, memory>>10)
			}
		})
	}
}

// A list that leads back to itself ends, with names on its pages and without.
func TestListsWithoutEndAreLeft(t *testing.T) {
	for name, p := range map[string]pages{"names": {pages: 10, names: maxNames - 5}, "pages": {pages: maxPages - 1}} {
		t.Run(name, func(t *testing.T) {
			if err := p.add(5); err != nil {
				t.Errorf("too early: %v", err)
			}
			if err := p.add(5); err == nil {
				t.Error("it goes on")
			}
		})
	}
	asked := 0
	page := `{"name":"x","tags":["` + strings.Repeat(`1","`, 200_000) + `1"],"repositories":["` + strings.Repeat(`spectro-packs/archive/x","`, 100_000) + `x"]}`
	c := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Link", "<"+r.URL.Path+`?n=1>; rel="next"`)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, page)
	})
	for what, list := range map[string]func() error{
		"tags":  func() error { _, err := c.List(t.Context(), "x"); return err },
		"packs": func() error { _, err := c.List(t.Context(), ""); return err },
	} {
		if err := list(); err == nil || !strings.Contains(err.Error(), "does not end") || asked > 30 {
			t.Errorf("%s: asked %d times: %v", what, asked, err)
		}
	}
}
