package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"packregistry.dev/client"
	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
	"packregistry.dev/pack"
)

// threeChunks is a pack whose archive is sent in three chunks.
func threeChunks(t *testing.T) *pack.Directory {
	t.Helper()
	d, err := pack.OpenDirectory(testpack.Dir(t, "large", "1.0.0", map[string]string{"data.bin": noise(20 << 20)}))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A token that expires between two chunks is fetched anew, and the chunk sent with it.
func TestATokenThatExpiresBetweenChunks(t *testing.T) {
	t.Parallel()
	var chunks, tokens atomic.Int64
	s := newRegistry(t, func(h *httptest.Server) {
		next := h.Config.Handler
		h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token":
				tokens.Add(1)
				fmt.Fprint(w, `{"token":"fresh"}`)
				return
			case r.Method == http.MethodPatch && chunks.Add(1) == 2:
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+h.URL+`/token",service="registry"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			case r.Header.Get("Authorization") == "Bearer fresh":
				r.SetBasicAuth(testregistry.Username, testregistry.Password)
			}
			next.ServeHTTP(w, r)
		})
	})
	if _, err := connect(t, s).Push(t.Context(), threeChunks(t), client.Push{}); err != nil || tokens.Load() == 0 {
		t.Errorf("%d tokens, %v", tokens.Load(), err)
	}
}

// A registry that loses each upload at its second chunk, or takes nothing more of it, is given up.
func TestAnUploadThatNeverGetsOn(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"lost": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"stuck": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", r.URL.String())
			w.Header().Set("Range", "0-8388607")
			w.WriteHeader(http.StatusAccepted)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var chunks atomic.Int64
			s := newRegistry(t, func(h *httptest.Server) {
				next := h.Config.Handler
				h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPatch {
						if chunks.Add(1); chunks.Load() > 50 {
							t.Error("it never ends")
							w.WriteHeader(http.StatusForbidden)
							return
						}
						if !strings.HasPrefix(r.Header.Get("Content-Range"), "0-") {
							answer(w, r)
							return
						}
					}
					next.ServeHTTP(w, r)
				})
			})
			if _, err := connect(t, s).Push(t.Context(), threeChunks(t), client.Push{}); err == nil {
				t.Error("pushed")
			}
		})
	}
}

// Where nothing can be noted, a push goes on all the same.
func TestUploadsThatCannotBeNoted(t *testing.T) {
	t.Parallel()
	s := newRegistry(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.UploadsDir = filepath.Join(file, "uploads")
	if _, err := connect(t, s).Push(t.Context(), threeChunks(t), client.Push{}); err != nil {
		t.Error(err)
	}
}
