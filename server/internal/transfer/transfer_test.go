package transfer

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// file is content that is a file, as the filesystem driver has it.
type file struct{ *os.File }

func (f file) OSFile() *os.File { return f.File }

// pipeListener accepts one connection, and then none.
type pipeListener struct{ conns chan net.Conn }

func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// download asks a server for a file of that size, and returns the answer's content, with a timeout for it.
func download(t *testing.T, size int64, timeout time.Duration) io.Reader {
	t.Helper()
	name := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		var to Writer
		to.Init(w, timeout)
		io.CopyN(&to, file{f}, size) //nolint:errcheck // the client sees it
		to.End(time.Minute)
	})}
	client, server := net.Pipe()
	l := pipeListener{make(chan net.Conn, 1)}
	l.conns <- server
	close(l.conns)
	go s.Serve(l) //nolint:errcheck // it ends with the test
	t.Cleanup(func() {
		client.Close()
		s.Close()
	})
	if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: packs\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	return response.Body
}

// A client that took much at once and then takes little goes on: the time counts for what is waited for now.
func TestADownloadMayBecomeSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, fast = 24 << 20, 20 << 20
		content := download(t, size, time.Minute)
		n, err := io.CopyN(io.Discard, content, fast)
		for piece := int64(0); err == nil; n += piece {
			time.Sleep(time.Second)
			piece, err = io.CopyN(io.Discard, content, 16<<10)
		}
		if err != io.EOF || n != size { //nolint:errorlint // any other error is a failure
			t.Errorf("%d of %d bytes came, then: %v", n, size, err)
		}
	})
}

// A client that takes nothing more is cut off, however fast it was before.
func TestADownloadMayNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := download(t, 24<<20, time.Minute)
		if _, err := io.CopyN(io.Discard, content, 20<<20); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if n, err := io.Copy(io.Discard, content); err == nil {
			t.Errorf("%d bytes more came after two minutes of nothing", n)
		}
	})
}
