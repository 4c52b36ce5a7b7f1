package server

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/store/driver/instrumented"
)

// quiet is an http.ResponseWriter that costs next to nothing, so that what is measured is the registry's own work.
type quiet struct {
	header http.Header
	status int
}

func (w *quiet) Header() http.Header              { return w.header }
func (w *quiet) WriteHeader(status int)           { w.status = status }
func (w *quiet) Write(p []byte) (int, error)      { return len(p), nil }
func (w *quiet) SetWriteDeadline(time.Time) error { return nil }
func (w *quiet) SetReadDeadline(time.Time) error  { return nil }

func BenchmarkGetManifest(b *testing.B) {
	for name, open := range map[string]func() (driver.Driver, error){
		"filesystem": func() (driver.Driver, error) { return filesystem.New(b.TempDir()) },
		"inmemory":   func() (driver.Driver, error) { return inmemory.New(), nil },
	} {
		b.Run(name, func(b *testing.B) {
			d, err := open()
			if err != nil {
				b.Fatal(err)
			}
			benchmarkGetManifest(b, d, http.MethodGet)
		})
		b.Run(name+" HEAD", func(b *testing.B) {
			d, err := open()
			if err != nil {
				b.Fatal(err)
			}
			benchmarkGetManifest(b, d, http.MethodHead)
		})
	}
}

func benchmarkGetManifest(b *testing.B, d driver.Driver, method string) {
	c, _, err := config.Parse([]byte("version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: inmemory\n"), config.Options{})
	if err != nil {
		b.Fatal(err)
	}
	m := telemetry.NewMetrics()
	s, err := store.Open(b.Context(), instrumented.New(d, m.StorageOperation))
	if err != nil {
		b.Fatal(err)
	}
	r := s.Repository("r")
	content := []byte(`{"schemaVersion":2}`)
	put := store.PutManifest{Digest: digest.FromBytes(content), MediaType: imageManifest, Content: content}
	if err := errors.Join(r.PutManifest(b.Context(), put), r.Tag(b.Context(), "t", put.Digest, "", true)); err != nil {
		b.Fatal(err)
	}
	server := newServer(c, s, nil, m, slog.New(slog.DiscardHandler))
	request := httptest.NewRequest(method, "/v2/r/manifests/t", nil)
	w := &quiet{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		w.status = 0
		server.ServeHTTP(w, request)
		if w.header["Docker-Content-Digest"] == nil {
			b.Fatal(w.status, w.header)
		}
	}
}
