package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
)

// What somebody pushed never runs in the browser of whoever opens it, whatever it is called and however it is asked for, also
// where the configuration takes the headers away that every answer has.
func TestContentNeverRunsInABrowser(t *testing.T) {
	const script = `<html><script>alert(1)</script></html>`
	for name, headers := range map[string]string{
		"default headers":      "}",
		"no headers":           "}\nhttp: {headers: {X-Content-Type-Options: [], Content-Security-Policy: []}}",
		"headers of one's own": "}\nhttp: {headers: {X-Content-Type-Options: [x], Content-Security-Policy: [\"script-src 'unsafe-inline'\", \"img-src *\"]}}",
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, inmemory.New(), headers, nil)
			paths := f.pushContent(script)
			for _, path := range paths {
				for _, method := range []string{"GET", "HEAD"} {
					r := f.do(method, path, nil)
					if r.StatusCode != http.StatusOK {
						t.Fatalf("%s %s: %s", method, path, r.Status)
					}
					kind := r.Header.Get("Content-Type")
					shown := strings.HasPrefix(kind, "image/") && kind != "image/svg+xml" || kind == "text/plain" || kind == "application/json" || kind == "application/yaml" || strings.HasSuffix(kind, "+json")
					if !shown && kind != "application/octet-stream" {
						t.Errorf("%s %s is served as %q", method, path, kind)
					}
					if r.Header.Get("X-Content-Type-Options") != "nosniff" {
						t.Errorf("%s %s: X-Content-Type-Options %q", method, path, r.Header["X-Content-Type-Options"])
					}
					if !slices.Contains(r.Header["Content-Security-Policy"], "default-src 'none'; sandbox") {
						t.Errorf("%s %s: Content-Security-Policy %q", method, path, r.Header["Content-Security-Policy"])
					}
				}
			}
		})
	}
}

// pushContent pushes the same text as everything that content can be, and returns where it is.
func (f *fixture) pushContent(script string) []string {
	f.t.Helper()
	blob := f.pushBlob("r", script)
	index := `{"schemaVersion":2,"manifests":[],"x":"` + script + `"}`
	f.want(f.do("PUT", "/v2/r/manifests/t", strings.NewReader(index), "Content-Type", imageIndex), 201)
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", f.packManifest("demo", "1.0.0", map[string]string{
		"images/x.svg": script, "x.html": script, "x.js": script, "x.xhtml": script, "README.md": script, "deep/x.yaml": script, "none": script})), 201)
	paths := []string{"/v2/r/blobs/" + blob.String(), "/v2/r/manifests/t", "/v1/demo/files/1.0.0/", "/v2/r/referrers/" + blob.String(), "/v2/r/tags/list", "/v2/_catalog"}
	for _, kind := range []string{"text/html", "TEXT/HTML", "image/svg+xml", "application/xhtml+xml", "text/javascript", "image/png", "text/plain", "application/json", "text/html,image/png", "application/json; charset=x"} {
		paths = append(paths, "/v2/r/blobs/"+blob.String()+"?type="+strings.NewReplacer("+", "%2B", ";", "%3B", " ", "%20").Replace(kind))
	}
	for _, file := range []string{"images/x.svg", "x.html", "x.js", "x.xhtml", "README.md", "deep/x.yaml", "none"} {
		paths = append(paths, "/v1/demo/files/1.0.0/"+file)
	}
	// An older version, or an import, may have stored manifests of any media type.
	for i, mediaType := range []string{"text/html", "application/xhtml+xml", "image/svg+xml", "application/javascript", "", "text/html\nX-Evil: 1", "application/vnd.wap.xhtml+xml"} {
		text := fmt.Sprint(i, script)
		d := digest.FromString(text)
		if err := f.store.Repository("old").PutManifest(f.t.Context(), store.PutManifest{Digest: d, MediaType: mediaType, Content: []byte(text)}); err != nil {
			f.t.Fatal(err)
		}
		paths = append(paths, "/v2/old/manifests/"+d.String())
	}
	return paths
}

// What is pushed as a page is no manifest.
func TestAManifestIsNoPage(t *testing.T) {
	f := open0(t)
	for _, mediaType := range []string{"text/html", "application/xhtml+xml", "image/svg+xml", "application/json", "application/vnd.unknown+json", "x"} {
		f.want(f.do("PUT", "/v2/r/manifests/t", strings.NewReader(`{"schemaVersion":2,"manifests":[]}`), "Content-Type", mediaType), 400, "MANIFEST_INVALID")
	}
}

// A request for very many pieces, or for pieces that overlap, gets the whole, once (RFC 9110, 14.2).
func TestRangesOfOneRequest(t *testing.T) {
	f := open0(t)
	content := strings.Repeat("0123456789", 100)
	blob := "/v2/r/blobs/" + f.pushBlob("r", content).String()
	manifest := `{"schemaVersion":2,"manifests":[],"x":"` + content + `"}`
	f.want(f.do("PUT", "/v2/r/manifests/t", strings.NewReader(manifest), "Content-Type", imageIndex), 201)
	pieces := func(n, step int) string {
		ranges := make([]string, n)
		for i := range ranges {
			ranges[i] = fmt.Sprintf("%d-%d", i*step, i*step+1)
		}
		return "bytes=" + strings.Join(ranges, ", ")
	}
	for _, path := range []string{blob, "/v2/r/manifests/t"} {
		for _, tt := range []struct {
			name, ranges string
			status       int
		}{
			{"one", "bytes=0-9", 206},
			{"one from the end", "bytes=-5", 206},
			{"one without an end", "bytes=10-", 206},
			{"one beyond the end", "bytes=5000-", 416},
			{"two", "bytes=0-9,20-29", 206},
			{"two in another order", "bytes=20-29,0-9", 206},
			{"two that touch", "bytes=0-9,10-19", 206},
			{"two, one of them from the end", "bytes=0-9,-10", 206},
			{"two, one of them beyond the end", "bytes=0-9,5000-6000", 206},
			{"sixteen", pieces(16, 2), 206},
			{"seventeen", pieces(17, 2), 200},
			{"seventeen, most of them empty", "bytes=0-1" + strings.Repeat(",", 30) + "3-4", 206},
			{"thousands", pieces(5000, 3), 200},
			{"thousands of nothing", "bytes=" + strings.Repeat(",", 20000), 200},
			{"two that overlap", "bytes=0-9,9-19", 200},
			{"two that overlap in another order", "bytes=9-19,0-9", 200},
			{"the same twice", "bytes=0-9,0-9", 200},
			{"one within the other", "bytes=0-99,10-19", 200},
			{"one within the other, from the end", "bytes=0-,-5", 200},
			{"no ranges", "bytes=x", 416},
			{"another unit", "lines=1-2", 416},
		} {
			r := f.do("GET", path, nil, "Range", tt.ranges)
			body := text(r)
			if r.StatusCode != tt.status {
				t.Errorf("%s, %s: %s", path, tt.name, r.Status)
			}
			if len(body) > 2*len(manifest)+16*200 {
				t.Errorf("%s, %s: %d bytes", path, tt.name, len(body))
			}
		}
	}
}
