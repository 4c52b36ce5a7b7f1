package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"packregistry.dev/client"
	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

// Of several packs, one that failed for a moment is worth another try, whatever is wrong with the others.
func TestExitCodeOfSeveralPacks(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{Edit: func(h *httptest.Server) {
		next := h.Config.Handler
		h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/busy/manifests/") {
				w.Header().Set("Retry-After", "60")
				w.WriteHeader(http.StatusTooManyRequests)
				fmt.Fprint(w, `{"errors": [{"code": "TOOMANYREQUESTS", "message": "try again"}]}`)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	home := t.TempDir()
	demo, busy := testpack.Dir(t, "demo", "1.0.0", nil), testpack.Dir(t, "busy", "1.0.0", nil)
	changed := testpack.Dir(t, "demo", "1.0.0", map[string]string{"README.md": "changed"})
	for _, tt := range []struct {
		line  string
		code  int
		words string
	}{
		{"registry login " + r.Host + " -u ann --password-stdin --ca-file " + r.CAFile, exitDone, "Login Succeeded"},
		{"pack push " + demo, exitDone, "pushed demo:1.0.0"},
		{"pack push " + changed, exitRefused, "exists already"},
		{"pack push " + busy, exitFailed, "answered 429"},
		{"pack push " + busy + " " + changed, exitFailed, "0 pushed, 0 replaced, 0 unchanged, 2 failed"},
		{"pack push " + changed + " " + busy, exitFailed, "0 pushed, 0 replaced, 0 unchanged, 2 failed"},
	} {
		if code, out := run(t, home, tt.line); code != tt.code || !strings.Contains(out, tt.words) {
			t.Errorf("packctl %s: exit code %d, want %d and %q; %s", tt.line, code, tt.code, tt.words, out)
		}
	}
}

func TestExitCodeOfSeveralErrors(t *testing.T) {
	t.Parallel()
	passing := errors.New("away")
	for _, tt := range []struct {
		errs []error
		code int
	}{
		{[]error{client.ErrRefused, client.ErrExists}, exitRefused},
		{[]error{client.ErrRefused, client.ErrDenied}, exitDenied},
		{[]error{client.ErrRefused, client.ErrNotFound}, exitNotFound},
		{[]error{passing, passing}, exitFailed},
		{[]error{passing, client.ErrDenied, client.ErrNotFound, client.ErrRefused}, exitFailed},
	} {
		var outcomes []client.Outcome
		for _, err := range tt.errs {
			outcomes = append(outcomes, client.Outcome{Error: err}, client.Outcome{})
		}
		if code := exitCode(t.Context(), failures(outcomes)); code != tt.code {
			t.Errorf("%v: exit code %d, want %d", tt.errs, code, tt.code)
		}
	}
	if code := exitCode(t.Context(), failures([]client.Outcome{{}, {}})); code != exitDone {
		t.Errorf("of no errors: %d", code)
	}
}
