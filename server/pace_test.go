package server

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/internal/packfiles"
	"packregistry.dev/server/internal/share"
	"packregistry.dev/server/store/driver/inmemory"
)

// pipeListener accepts connections that are pipes, which hold nothing on the way.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	conn, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// A client that reads slowly, or not at all, keeps nobody from reading the files of packs for longer than some seconds. One that is not
// that slow, and one that reads a small file, get all of it.
func TestSlowReadersOfFilesKeepNoPlace(t *testing.T) {
	f := start(t, inmemory.New(), "}", nil)
	small, big := strings.Repeat("s", packfiles.MaxHeld), strings.Repeat("0123456789abcdef", 8<<16)
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", f.packManifest("demo", "1.0.0", map[string]string{"small.txt": small, "big.txt": big})), 201)
	for _, test := range []struct {
		name, file string
		rate       int           // bytes a second
		free       time.Duration // when another request gets the place
		whole      bool
	}{
		{"4 KiB/s", "big.txt", 4 << 10, 20 * time.Second, false},
		{"nothing", "big.txt", 0, 20 * time.Second, false},
		{"256 KiB/s", "big.txt", 256 << 10, time.Minute, true},
		{"a small file", "small.txt", 4 << 10, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f.unpacks = share.New(1, 1)
				listener := make(pipeListener, 1)
				server := &http.Server{Handler: f.Server} //nolint:gosec // the test's own client
				go server.Serve(listener)                 //nolint:errcheck // it ends with the listener
				client, conn := net.Pipe()
				listener <- conn
				if _, err := fmt.Fprintf(client, "GET /v1/demo/files/1.0.0/%s HTTP/1.1\r\nHost: a\r\n\r\n", test.file); err != nil {
					t.Fatal(err)
				}
				buffered := bufio.NewReader(client)
				r, err := http.ReadResponse(buffered, nil)
				if err != nil {
					t.Fatal(err)
				}
				got := make(chan int64, 1)
				go func() {
					var n int64
					for part := int64(0); err == nil && test.rate > 0; n += part {
						time.Sleep(time.Second)
						part, err = io.CopyN(io.Discard, r.Body, int64(test.rate))
					}
					got <- n
				}()
				time.Sleep(test.free)
				w := httptest.NewRecorder()
				f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/demo/files/1.0.0/values.yaml", nil))
				if w.Code != http.StatusOK {
					t.Errorf("another request after %s: %d %s", test.free, w.Code, w.Body)
				}
				if n := <-got; (n == r.ContentLength) != test.whole {
					t.Errorf("%d of %d bytes came", n, r.ContentLength)
				}
				client.Close()
				close(listener)
				server.Close()
			})
		})
	}
}

// Content that comes too slowly gives its place back; an honest slow link's is taken whole, however long it takes.
func TestContentComesAtSomePace(t *testing.T) {
	for _, test := range []struct {
		rate, seconds int // what is sent each second, and for how long
		status        int
		after         time.Duration
	}{
		{1, 0, http.StatusRequestTimeout, 31 * time.Second},
		{4 << 10, 0, http.StatusRequestTimeout, 61 * time.Second},
		{16 << 10, 600, http.StatusCreated, 601 * time.Second},
	} {
		t.Run(fmt.Sprint(test.rate, " bytes a second"), func(t *testing.T) {
			f := open0(t)
			synctest.Test(t, func(t *testing.T) {
				listener := make(pipeListener, 1)
				server := &http.Server{Handler: f.Server} //nolint:gosec // the test's own client
				go server.Serve(listener)                 //nolint:errcheck // it ends with the listener
				client, conn := net.Pipe()
				listener <- conn
				part := strings.Repeat("x", test.rate)
				whole := strings.Repeat(part, cmp.Or(test.seconds, 1000))
				fmt.Fprintf(client, "POST /v2/r/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", digest.FromString(whole), len(whole)) //nolint:errcheck // the answer tells
				begun := time.Now()
				go func() {
					for range len(whole) / len(part) {
						time.Sleep(time.Second)
						if _, err := io.WriteString(client, part); err != nil {
							return
						}
					}
				}()
				r, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); r.StatusCode != test.status || took > test.after || f.uploads.Taken() != 0 {
					t.Errorf("%s after %s, %d places are taken", r.Status, took, f.uploads.Taken())
				}
				client.Close()
				close(listener)
				server.Close()
				time.Sleep(2 * time.Second)
			})
		})
	}
}
