package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// dial opens a connection and begins a request on it.
func dial(t *testing.T, addr, request string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAClientThatStopsInTheMiddleIsCutOff(t *testing.T) {
	addr, _, _ := run(t, "http: {addr: '127.0.0.1:0', limits: {stalltimeout: 300ms}}\n")
	path := location(t, "http://"+addr)
	c := dial(t, addr, "PATCH "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n0123456789")
	c.SetReadDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // the read below tells
	answer, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(answer), "408 Request Timeout") || !strings.Contains(string(answer), "REQUEST_TIMEOUT") {
		t.Errorf("answered %q, %v", answer, err)
	}
	// What arrived is kept.
	status, err := http.Get("http://" + addr + path) //nolint:noctx // a server of ours
	if err != nil {
		t.Fatal(err)
	}
	status.Body.Close()
	if got := status.Header.Get("Range"); got != "0-9" {
		t.Errorf("the upload stands at %q", got)
	}
}

func TestAHeaderThatNeverEndsIsCutOff(t *testing.T) {
	addr, _, _ := run(t, "http: {addr: '127.0.0.1:0', limits: {stalltimeout: 300ms}}\n")
	c := dial(t, addr, "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	c.SetReadDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // the read below tells
	if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

// Many times the timeout, but never without a byte for as long as that.
func TestATrickleIsNotCutOff(t *testing.T) {
	addr, _, _ := run(t, "http: {addr: '127.0.0.1:0', limits: {stalltimeout: 400ms}}\n")
	const pieces = 30
	content := strings.Repeat("x", pieces)
	d := digest.FromString(content)
	c := dial(t, addr, fmt.Sprintf("POST /v2/r/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", d, pieces))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range pieces {
		<-tick.C
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // the read below tells
	if answer, err := io.ReadAll(c); err != nil || !strings.Contains(string(answer), "201 Created") {
		t.Errorf("answered %q, %v", answer, err)
	}
}
