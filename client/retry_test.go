package client_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"packregistry.dev/client"
	"packregistry.dev/internal/testpack"
	"packregistry.dev/pack"
)

// cuttable is a connection that is cut after so many bytes in one direction.
type cuttable struct {
	net.Conn
	read, written atomic.Int64
}

func (c *cuttable) Read(b []byte) (int, error)  { return c.count(&c.read, b, c.Conn.Read) }
func (c *cuttable) Write(b []byte) (int, error) { return c.count(&c.written, b, c.Conn.Write) }

func (c *cuttable) count(left *atomic.Int64, b []byte, do func([]byte) (int, error)) (int, error) {
	n, err := do(b)
	if left.Add(-int64(n)) < 0 {
		c.Close()
		err = net.ErrClosed
	}
	if errors.Is(err, net.ErrClosed) && c.read.Load()|c.written.Load() < 0 {
		err = syscall.ECONNRESET // what it looks like when the other end does it
	}
	return n, err
}

const never = 1 << 40

// dialing returns a Dial whose connections are refused or cut, in order; those after the last are sound.
func dialing(dials *atomic.Int64, faults ...cut) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		n := int(dials.Add(1)) - 1
		if n >= len(faults) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		if faults[n].refuse {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c := &cuttable{Conn: conn}
		c.read.Store(faults[n].read)
		c.written.Store(faults[n].written)
		return c, nil
	}
}

// cut says after how many bytes a connection is cut, or that there is none.
type cut struct {
	refuse        bool
	read, written int64
}

func noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return string(b)
}

func TestARegistryThatIsAwayForAMomentIsAskedAgain(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	dir := testpack.Dir(t, "demo", "1.0.0", map[string]string{"charts/a.tgz": noise(size)})
	d, err := pack.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	upload, downloads := cut{read: never, written: size / 3}, cut{read: size / 3, written: never}
	for name, tt := range map[string]struct {
		push, pull []cut
		dials      int64 // of the push or the pull, whichever has faults
	}{
		"refused":                 {push: []cut{{refuse: true}, {refuse: true}}, dials: 3},
		"cut while it receives":   {push: []cut{upload, upload}, dials: 3},
		"refused, asked to serve": {pull: []cut{{refuse: true}, {refuse: true}}, dials: 3},
		"cut while it sends":      {pull: []cut{downloads, {refuse: true}, downloads}, dials: 4},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " over HTTP/2"}[http2], func(t *testing.T) {
				t.Parallel()
				s := newRegistry(t, func(h *httptest.Server) { h.EnableHTTP2 = http2 })
				var pushes, pulls atomic.Int64
				s.Dial = dialing(&pushes, tt.push...)
				last := int64(0)
				pushed, err := connect(t, s).Push(t.Context(), d, client.Push{Progress: func(sent, _ int64) { last = sent }})
				if err != nil || last != pushed.Size {
					t.Fatalf("reported %d bytes; %v", last, err)
				}
				s.Dial = dialing(&pulls, tt.pull...)
				pulled, err := connect(t, s).Pull(t.Context(), "demo", "1.0.0", t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				want, err1 := os.ReadFile(filepath.Join(dir, "charts/a.tgz"))
				got, err2 := os.ReadFile(filepath.Join(pulled.Path, "charts/a.tgz"))
				if err1 != nil || err2 != nil || string(got) != string(want) {
					t.Errorf("%d bytes, want %d; %v, %v", len(got), len(want), err1, err2)
				}
				if n := max(pushes.Load(), pulls.Load()); n < tt.dials {
					t.Errorf("%d connections, want %d: no fault was met", n, tt.dials)
				}
			})
		}
	}
}

// answering gives the first answers itself, or loses what the registry answers.
func answering(first func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) (done bool)) func(*httptest.Server) {
	return func(h *httptest.Server) {
		next := h.Config.Handler
		var n atomic.Int64
		h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !first(n.Add(1), w, r, next) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

func TestAnswersThatMayPassAreAskedForAgain(t *testing.T) {
	t.Parallel()
	var asked, lost atomic.Int64
	for name, edit := range map[string]func(*httptest.Server){
		"503 now and then": answering(func(n int64, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			if n%2 == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n%2 == 1
		}),
		"429 for a second": answering(func(n int64, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			if n == 1 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusTooManyRequests)
			}
			return n == 1
		}),
		"answers to PUT are lost": answering(func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			asked.Add(1)
			if r.Method != http.MethodPut || lost.Add(1)%2 == 0 {
				return false
			}
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRegistry(t, edit)
			d, _ := openPack(t, nil)
			pushed, err := connect(t, s).Push(t.Context(), d, client.Push{})
			if err != nil {
				t.Fatal(err)
			}
			pulled, err := connect(t, s).Pull(t.Context(), "demo", "1.0.0", t.TempDir())
			if err != nil || pulled.Digest != pushed.Digest {
				t.Errorf("%+v, %v", pulled, err)
			}
		})
	}
}

func TestWhatWillNotPassIsToldAtOnce(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(http.ResponseWriter){
		"429 for a minute": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"507": func(w http.ResponseWriter) { w.WriteHeader(http.StatusInsufficientStorage) },
		"403": func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			s := newRegistry(t, answering(func(n int64, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
				asked.Store(n)
				edit(w)
				return true
			}))
			if err := connect(t, s).Ping(t.Context()); err == nil || asked.Load() != 1 {
				t.Errorf("asked %d times: %v", asked.Load(), err)
			}
		})
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	s := newRegistry(t)
	ctx, stop := context.WithCancel(t.Context())
	s.Dial = func(_ context.Context, network, _ string) (net.Conn, error) {
		stop()
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	began := time.Now()
	if err := connect(t, s).Ping(ctx); err == nil || !strings.Contains(err.Error(), "canceled") || time.Since(began) > time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}
