package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"sync"
	"time"
)

// Bounds on how slowly a client of the debug address may begin.
const (
	headerTimeout = 15 * time.Second
	idleTimeout   = 2 * time.Minute
)

// Status is what the debug address answers at /status, as JSON.
type Status struct {
	Storage StorageStatus `json:"storage"`
}

// StorageStatus says how full the storage is, in bytes; both are zero where nobody knows.
type StorageStatus struct {
	Free uint64 `json:"free"`
	Size uint64 `json:"size"`
}

// StartDebug serves probes and metrics on the debug address, if there is one. It goes on while the server drains.
func (c *Checker) StartDebug(group *sync.WaitGroup, metrics http.Handler) (io.Closer, error) {
	addr := c.Config.HTTP.Debug.Addr
	if addr == "" {
		return io.NopCloser(nil), nil
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("http.debug.addr: %w", err)
	}
	server := &http.Server{Handler: c.Handler(metrics), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug)}
	group.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			c.Log.Error("the debug address is not served any more", "error", err)
		}
	})
	return server, nil
}

// Handler answers what is asked of the debug address.
func (c *Checker) Handler(metrics http.Handler) http.Handler {
	debug, mux := c.Config.HTTP.Debug, http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", c.readyz)
	mux.HandleFunc("GET /status", c.status)
	if debug.Prometheus.Enabled {
		mux.Handle("GET "+debug.Prometheus.Path, metrics)
	}
	if debug.Pprof.Enabled {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (c *Checker) readyz(w http.ResponseWriter, _ *http.Request) {
	wrong := c.Wrong()
	if len(wrong) == 0 {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, part := range slices.Sorted(maps.Keys(wrong)) {
		fmt.Fprintf(w, "%s: %s\n", part, wrong[part])
	}
}

func (c *Checker) status(w http.ResponseWriter, r *http.Request) {
	var status Status
	if free, size, ok := c.Store.Space(r.Context()); ok {
		status.Storage = StorageStatus{Free: free, Size: size}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(status) //nolint:errcheck,errchkjson // the client is gone
}
