package client_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"packregistry.dev/client"
)

func TestConnectingGivesUp(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	s := client.Server{Host: "packs.example.com", ConnectTimeout: 50 * time.Millisecond,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { // as a firewall that drops packets
			dials.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}}
	err := connect(t, s).Ping(t.Context())
	if err == nil || !strings.Contains(err.Error(), "packs.example.com:443 does not answer: no connection within 50ms") || dials.Load() != 1 {
		t.Errorf("after %d attempts: %v", dials.Load(), err)
	}
}

func TestAServerThatStopsAnsweringIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter){
		"at once": func(http.ResponseWriter) {},
		"in the middle": func(w http.ResponseWriter) {
			w.Write([]byte(`{"name": "x", "tags": [`))
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			s := newRegistry(t, answering(func(n int64, w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				asked.Store(n)
				answer(w)
				<-r.Context().Done()
				return true
			}))
			s.StallTimeout = 300 * time.Millisecond
			_, err := connect(t, s).List(t.Context(), "demo")
			if err == nil || !strings.Contains(err.Error(), "stopped answering: nothing came for 300ms") || asked.Load() != 1 {
				t.Errorf("asked %d times: %v", asked.Load(), err)
			}
		})
	}
}

// What moves may take as long as it takes: in both directions, a byte now and then is enough.
func TestWhatMovesIsNotGivenUp(t *testing.T) {
	t.Parallel()
	s := newRegistry(t, func(h *httptest.Server) {
		next := h.Config.Handler
		h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
		})
	})
	const limit = 2 * time.Second
	s.StallTimeout = limit
	s.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &slow{conn}, err
	}
	c := connect(t, s)
	d, _ := openPack(t, map[string]string{"charts/a.tgz": noise(100 << 10)})
	began := time.Now()
	if _, err := c.Push(t.Context(), d, client.Push{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pull(t.Context(), "demo", "1.0.0", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*limit {
		t.Errorf("it took %s only: nothing was tried", took)
	}
}

// slow is a connection of some 50 KB/s.
type slow struct{ net.Conn }

func (s *slow) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b[:min(len(b), 2<<10)])
	time.Sleep(time.Duration(n) * 20 * time.Microsecond)
	return n, err
}

func (s *slow) Write(b []byte) (int, error) {
	time.Sleep(time.Duration(len(b)) * 20 * time.Microsecond)
	return s.Conn.Write(b)
}

func TestRetriesAreReported(t *testing.T) {
	t.Parallel()
	s := newRegistry(t, answering(func(n int64, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		if n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return n == 1
	}))
	var reasons []string
	s.OnRetry = func(reason string, _ time.Duration) { reasons = append(reasons, reason) }
	if err := connect(t, s).Ping(t.Context()); err != nil || len(reasons) != 1 || !strings.Contains(reasons[0], "answered 503") {
		t.Errorf("%q, %v", reasons, err)
	}
}
