package server

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
)

// FuzzRequest sends whole requests, whose paths, queries, headers and bodies are made up: none takes time or memory out of
// proportion, none makes the server fail, and no answer runs in a browser. It covers what reads names, tags, digests, pages, cursors, ranges,
// Content-Range, media types, scopes and credentials.
func FuzzRequest(f *testing.F) {
	c, _, err := config.Parse([]byte("version: 0.1\nstorage: inmemory\n"), config.Options{})
	if err != nil {
		f.Fatal(err)
	}
	content, err := store.Open(f.Context(), inmemory.New())
	if err != nil {
		f.Fatal(err)
	}
	s := New(c, content, nil, slog.New(slog.DiscardHandler))
	const blob = "/v2/r/blobs/sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9" // of "0"
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "x"} {
		f.Add(method, blob, "type=text/html", "Range", "bytes="+strings.Repeat("0-1,", 10_000), []byte("{}"))
	}
	f.Add("POST", "/v2/r/blobs/uploads/", "digest=sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9", "Content-Range", "0-0", []byte("0"))
	f.Add("POST", "/v2/r/blobs/uploads/", "mount=sha256:0&from="+strings.Repeat("a/", 10_000), "Authorization", "Basic "+strings.Repeat("A", 20_000), []byte("0"))
	f.Add("PUT", "/v2/r/manifests/t", "", "Content-Type", imageIndex, []byte(`{"schemaVersion":2,"manifests":[`+strings.Repeat(`{},`, 5_000)+`{}]}`))
	f.Add("PUT", "/v1/demo/manifests/1.0.0", "tag="+strings.Repeat("x&tag=", 5_000), "Content-Type", strings.Repeat(";", 20_000), []byte(`{`))
	f.Add("GET", "/v2/_catalog", "n=99999999999999999999&next="+strings.Repeat("A", 20_000), "Accept", "", []byte(nil))
	f.Add("GET", "/v2/r/referrers/sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9", "last=x&artifactType=y", "If-None-Match", strings.Repeat(`"a",`, 10_000), []byte(nil))
	f.Add("GET", "/v1/demo/files/1.x/"+strings.Repeat("../", 5_000), "", "Origin", "null", []byte(nil))
	f.Add("PATCH", "/v2/r/blobs/uploads/"+strings.Repeat("0", 5_000), "", "Content-Range", "bytes 0-9223372036854775807/*", []byte("x"))
	f.Fuzz(func(t *testing.T, method, path, query, name, value string, body []byte) {
		target := (&url.URL{Path: path, RawQuery: query}).String()
		probe, err := http.NewRequestWithContext(t.Context(), method, target, nil)
		if err != nil || !strings.HasPrefix(path, "/") || len(target)+len(value) > 128<<10 {
			return
		}
		answer := func() *httptest.ResponseRecorder {
			r := probe.Clone(t.Context())
			r.Body, r.ContentLength, r.RequestURI = http.NoBody, int64(len(body)), target
			if len(body) > 0 {
				r.Body = http.MaxBytesReader(nil, nopCloser{bytes.NewReader(body)}, int64(len(body)))
			}
			r.Header.Set(name, value)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w
		}
		// 64 KiB to begin with, for what each request costs anyway, as the same request may be an upload of some bytes.
		testfuzz.Proportionate(t, 64<<10+len(target)+len(value)+len(body), func() { answer() })
		w := answer()
		if w.Code >= 500 {
			t.Errorf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
		if kind := w.Header().Get("Content-Type"); strings.Contains(kind, "html") || strings.Contains(kind, "svg") || strings.Contains(kind, "xml") || strings.Contains(kind, "javascript") {
			t.Errorf("%s %s is served as %q", method, target, kind)
		}
		if w.Body.Len() > 64<<10+8*(len(target)+len(value)+len(body)) {
			t.Errorf("%s %s is answered with %d bytes", method, target, w.Body.Len())
		}
	})
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }
