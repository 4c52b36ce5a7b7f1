package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
)

// BenchmarkLists measures lists and searches, as pages and as the index, in a registry of 10,000 packs of 10 versions that knows all of them.
func BenchmarkLists(b *testing.B) {
	const packs, versions = 10_000, 10
	content, err := store.Open(b.Context(), inmemory.New())
	if err != nil {
		b.Fatal(err)
	}
	for i := range packs {
		name := fmt.Sprintf("pack-%05d", i)
		r := content.Repository(pack.Repository(name))
		for v := range versions {
			version := fmt.Sprintf("1.%d.0", v)
			metadata := fmt.Appendf(nil, `{"name":%q,"displayName":"Number %d","version":%q,"layer":"addon","annotations":{"description":"What number %d is for"}}`, name, i, version, i)
			d, err := r.PutBlob(b.Context(), metadata)
			manifest := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[{"mediaType":"a/b","digest":%q,"size":77}]}`, d, d)
			m := digest.FromBytes(manifest)
			err = errors.Join(err, r.PutManifest(b.Context(), store.PutManifest{Digest: m, MediaType: imageManifest, Content: manifest, Pack: version, By: "ann",
				Files: []store.File{{Name: pack.MetadataFile, Digest: d, Size: int64(len(metadata))}}}), r.Tag(b.Context(), version, m, "ann", false))
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	c, _, err := config.Parse([]byte("version: 0.1\nstorage: inmemory\nlog: {accesslog: {disabled: true}}\n"), config.Options{})
	if err != nil {
		b.Fatal(err)
	}
	s := New(c, content, nil, slog.New(slog.DiscardHandler))
	b.Cleanup(s.summaries.Close)
	if err := s.summaries.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, tt := range []struct{ name, path string }{
		{"page", "/ui/"}, {"page-by-date", "/ui/?sort=date"}, {"search", "/ui/?q=number+77"}, {"search-without-result", "/ui/?q=nothing"},
		{"index-100", "/v1/_index?n=100"}, {"index-1000", "/v1/_index?n=1000"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(b.Context(), http.MethodGet, tt.path, nil)
				r.RemoteAddr = "127.0.0.1:1"
				began := time.Now()
				s.ServeHTTP(w, r)
				took = append(took, time.Since(began))
				if w.Code != http.StatusOK {
					b.Fatalf("%s: %d %.300s", tt.path, w.Code, w.Body)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
}
