package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"packregistry.dev/client"
)

// refusing lets a registry answer some requests with an error of the distribution specification.
func refusing(status int, code string, which func(*http.Request) bool) func(*httptest.Server) {
	return answering(func(_ int64, w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !which(r) {
			return false
		}
		io.Copy(io.Discard, r.Body) //nolint:errcheck // so that the answer is read
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors": [{"code": %q, "message": "it says why"}]}`, code)
		return true
	})
}

func pushesManifest(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
}

func pushesBlob(r *http.Request) bool {
	return (r.Method == http.MethodPut || r.Method == http.MethodPost) && strings.Contains(r.URL.Path, "/blobs/uploads/")
}

// What a push may be refused with for ever is ErrRefused; what may pass is none of the kinds, so that whoever calls tries again.
func TestKindsOfAnswersToPushes(t *testing.T) {
	t.Parallel()
	parts := map[string]func(*http.Request) bool{"manifest": pushesManifest, "blob": pushesBlob}
	kinds := []error{client.ErrRefused, client.ErrDenied, client.ErrNotFound}
	for _, tt := range []struct {
		part   string
		status int
		code   string
		kind   error
	}{
		{"manifest", http.StatusBadRequest, "MANIFEST_INVALID", client.ErrRefused},
		{"manifest", http.StatusUnauthorized, "UNAUTHORIZED", client.ErrDenied},
		{"manifest", http.StatusForbidden, "DENIED", client.ErrDenied},
		{"manifest", http.StatusNotFound, "NAME_UNKNOWN", client.ErrNotFound},
		{"manifest", http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", nil},
		{"manifest", http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", nil}, // as the CNCF's registry answers
		{"manifest", http.StatusMethodNotAllowed, "UNSUPPORTED", client.ErrRefused},
		{"manifest", http.StatusRequestTimeout, "REQUEST_TIMEOUT", nil},
		{"manifest", http.StatusConflict, "TAG_EXISTS", client.ErrExists},
		{"manifest", http.StatusConflict, "CONFLICT", client.ErrRefused},
		{"manifest", http.StatusRequestEntityTooLarge, "SIZE_INVALID", client.ErrRefused},
		{"manifest", http.StatusUnsupportedMediaType, "UNSUPPORTED", client.ErrRefused},
		{"manifest", http.StatusUnprocessableEntity, "MANIFEST_INVALID", client.ErrRefused},
		{"manifest", http.StatusTooEarly, "TOOMANYREQUESTS", nil},
		{"manifest", http.StatusTooManyRequests, "TOOMANYREQUESTS", nil},
		{"manifest", http.StatusInsufficientStorage, "INSUFFICIENT_STORAGE", nil},
		{"blob", http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", nil},
		{"blob", http.StatusRequestTimeout, "REQUEST_TIMEOUT", nil},
		{"blob", http.StatusRequestEntityTooLarge, "SIZE_INVALID", client.ErrRefused},
		{"blob", http.StatusUnsupportedMediaType, "UNSUPPORTED", client.ErrRefused},
		{"blob", http.StatusTooManyRequests, "TOOMANYREQUESTS", nil},
	} {
		t.Run(fmt.Sprintf("%s: %d %s", tt.part, tt.status, tt.code), func(t *testing.T) {
			t.Parallel()
			s := newRegistry(t, refusing(tt.status, tt.code, parts[tt.part]))
			d, _ := openPack(t, nil)
			_, err := connect(t, s).Push(t.Context(), d, client.Push{})
			if err == nil || !strings.Contains(err.Error(), "it says why") && tt.kind != client.ErrDenied && tt.kind != client.ErrExists { //nolint:errorlint // as the table has it
				t.Fatalf("%v does not say why", err)
			}
			for _, kind := range kinds {
				if is := errors.Is(err, kind); is != (tt.kind != nil && errors.Is(tt.kind, kind)) {
					t.Errorf("%v: is %v: %t", err, kind, is)
				}
			}
			if tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("%v is not %v", err, tt.kind)
			}
		})
	}
}

// A registry that is busy for a moment is sent the manifest again.
func TestAManifestIsSentAgain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusRequestTimeout, http.StatusTooManyRequests} {
		var pushes atomic.Int64
		s := newRegistry(t, answering(func(_ int64, w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if !pushesManifest(r) || pushes.Add(1) > 1 {
				return false
			}
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(status)
			fmt.Fprint(w, `{"errors": [{"code": "TOOMANYREQUESTS", "message": "busy"}]}`)
			return true
		}))
		d, _ := openPack(t, nil)
		if _, err := connect(t, s).Push(t.Context(), d, client.Push{}); err != nil || pushes.Load() != 2 {
			t.Errorf("%d: after %d pushes: %v", status, pushes.Load(), err)
		}
	}
}

// What a proxy answers while the registry is away says nothing of what registry it is.
func TestAProxysAnswerIsNotTheRegistrys(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		var v1, v2 atomic.Int64
		s := newRegistry(t, answering(func(n int64, w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if n == 1 {
				w.WriteHeader(status)
				return true
			}
			if pushesManifest(r) && strings.HasPrefix(r.URL.Path, "/v1/") {
				v1.Add(1)
			} else if pushesManifest(r) {
				v2.Add(1)
			}
			return false
		}))
		d, _ := openPack(t, nil)
		if _, err := connect(t, s).Push(t.Context(), d, client.Push{}); err != nil || v1.Load() != 1 || v2.Load() != 0 {
			t.Errorf("after %d: %d manifests at /v1 and %d at /v2: %v", status, v1.Load(), v2.Load(), err)
		}
	}
}
