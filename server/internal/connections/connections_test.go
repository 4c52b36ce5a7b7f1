package connections

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

// serve serves with a limit, and returns where.
func serve(t *testing.T, l *Limit) string {
	t.Helper()
	server := &http.Server{ConnState: l.State, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Minute}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return listener.Addr().String()
}

// connect connects from one of the loopback's addresses, and says whether the connection is kept.
func connect(t *testing.T, addr string, last byte) (net.Conn, bool) {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute)) //nolint:errcheck // only so that a failure ends
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_, err = io.ReadAtLeast(conn, make([]byte, 1024), 1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return conn, err == nil
}

// One address has three eighths of all connections, and others find some; all of them come back.
func TestAnAddressLeavesConnectionsToOthers(t *testing.T) {
	l := New(32, nil)
	var refused atomic.Int64
	l.Refused = func() { refused.Add(1) }
	addr := serve(t, l)
	var kept []net.Conn
	for range 40 {
		if conn, ok := connect(t, addr, 2); ok {
			kept = append(kept, conn)
		}
	}
	if len(kept) != 12 || refused.Load() != 28 {
		t.Errorf("one address has %d of 32 connections, and %d were refused", len(kept), refused.Load())
	}
	if _, ok := connect(t, addr, 3); !ok {
		t.Error("another address has none")
	}
	for _, conn := range kept {
		conn.Close()
	}
	testserver.Eventually(t, "connections that ended are given back", time.Minute, func() bool { return l.places.Taken() == 1 })
	if _, ok := connect(t, addr, 2); !ok {
		t.Error("there is no room again")
	}
}

// All connections of a trusted proxy are others', so that it may have all of them, and no more.
func TestAProxyMayHaveAll(t *testing.T) {
	addr := serve(t, New(32, []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}))
	kept := 0
	for range 40 {
		if _, ok := connect(t, addr, 2); ok {
			kept++
		}
	}
	if kept != 32 {
		t.Errorf("a proxy has %d of 32 connections", kept)
	}
	if _, ok := connect(t, addr, 3); ok {
		t.Error("there are more than the limit")
	}
}

func TestFilesAreLeftForTheStorage(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if n := Fitting(1 << 30); uint64(n) != min(1<<30, limit.Cur/2) {
		t.Errorf("%d connections where %d files may be open", n, limit.Cur)
	}
	if n := Fitting(7); n != 7 {
		t.Errorf("%d of 7", n)
	}
}
