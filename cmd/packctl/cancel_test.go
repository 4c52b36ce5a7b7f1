package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

// A pull that is interrupted in the middle leaves nothing behind, and says so in one line.
func TestACancelledPullLeavesNothing(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}, 8), make(chan struct{})
	defer close(end)
	r := testregistry.New(t, testregistry.Options{PlainHTTP: true, Edit: func(h *httptest.Server) {
		next := h.Config.Handler
		h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {

				w.Write([]byte("begin"))              //nolint:errcheck // the client goes
				http.NewResponseController(w).Flush() //nolint:errcheck // it can
				begun <- struct{}{}
				select {
				case <-r.Context().Done():
				case <-end:
				}
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	home, target := t.TempDir(), t.TempDir()
	runs(t, home, []commandLine{
		{"registry login " + r.Host + " -u ann --password-stdin -i", 0, nil},
		{"pack push " + testpack.Dir(t, "demo", "1.0.0", nil), 0, nil},
	})
	cmd := process(t, home, "pack", "pull", "demo", target)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // the exit code says it
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || out.String() != "packctl: interrupted; nothing is left half-written\n" {
		t.Errorf("exit code %d, %q", code, out.String())
	}
	if left, err := os.ReadDir(target); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
