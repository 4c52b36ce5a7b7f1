//go:build linux

package flood

import (
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

// However many connections are opened that ask for nothing more, memory is bounded, and another address is served.
func TestIdleConnections(t *testing.T) {
	wanted := 10_000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if most := int(files.Cur) - 200; most < wanted { //nolint:gosec // a number of files
		t.Logf("%d connections only: this process may open %d files", most, files.Cur)
		wanted = most
	}
	r := start(t, filesystem(t))
	r.prepare(t)
	r.client.CloseIdleConnections()
	open := make([]net.Conn, 0, wanted)
	defer func() {
		for _, conn := range open {
			conn.Close()
		}
	}()
	for i := range wanted {
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%20))}
		conn, err := (&net.Dialer{LocalAddr: from, Timeout: time.Minute}).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		open = append(open, conn)
		if i%2 == 0 { // one that was used takes more
			io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}
	if status, err := r.do("GET", "/v2/ann/x/manifests/v1", "", ""); err != nil || status != http.StatusOK {
		t.Errorf("GET by tag from another address: %d, %v", status, err)
	}
	if most := r.status(t, "VmHWM"); most > mostMemory {
		t.Errorf("%d connections took %d MiB, want at most %d", wanted, most, mostMemory)
	} else {
		t.Logf("%d connections took %d MiB at most", wanted, most)
	}
	if n := r.goroutines(t); n > 4096+200 {
		t.Errorf("the registry serves %d connections", n)
	}
	for _, conn := range open {
		conn.Close()
	}
	testserver.Eventually(t, "the connections are given back", time.Minute, func() bool { return r.goroutines(t) < 100 })
}
