package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"packregistry.dev/internal/htpasswd"
)

// checkTimeout bounds one check of the storage.
const checkTimeout = 5 * time.Second

// checkStorage looks at the storage at every interval. Failing makes the server unready; it goes on answering, since
// much may still work.
func (s *Server) checkStorage(ctx context.Context) {
	c := s.config.Health.StorageDriver
	if c.Enabled != nil && !*c.Enabled {
		return
	}
	ticker := time.NewTicker(time.Duration(c.Interval))
	defer ticker.Stop()
	for {
		s.checkStorageOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Server) checkStorageOnce(ctx context.Context) {
	check, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := s.store.Probe(check)
	if err == nil {
		if s.storageFailures.Swap(0) > 0 {
			s.log.Info("the storage answers again")
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	message := err.Error()
	s.lastFailure.Store(&message)
	s.log.Error("the storage failed a check", "failures", s.storageFailures.Add(1), "error", err)
}

// checks returns what is wrong, by part. Nothing wrong is an empty map.
func (s *Server) checks() map[string]string {
	wrong := map[string]string{}
	if s.storageFailures.Load() >= int64(s.config.Health.StorageDriver.Threshold) {
		wrong["storage"] = *s.lastFailure.Load()
	}
	return wrong
}

// health answers without authentication, as load balancers need it.
func (s *Server) health(w http.ResponseWriter, _ *request) error {
	answer := map[string]any{"status": "UP"}
	status := http.StatusOK
	if wrong := s.checks(); len(wrong) > 0 || s.draining.Load() {
		status = http.StatusServiceUnavailable
		answer["status"] = "DOWN"
		shown := map[string]string{}
		for part := range wrong { // why is for the log: anybody may ask here
			shown[part] = "failing"
		}
		if s.draining.Load() {
			shown["server"] = "draining"
		}
		answer["checks"] = shown
	}
	if warnings := s.warnings(); len(warnings) > 0 {
		answer["warnings"] = warnings
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, answer)
	return nil
}

// warnings returns what needs attention while clients are served, by part. Anybody may read it: lines are named by number.
func (s *Server) warnings() map[string]string {
	if s.users == nil {
		return nil
	}
	if s.users.Status() != nil {
		return map[string]string{"users": "the users' file cannot be read; the users read last stay"}
	}
	if unusable := s.users.Unusable(); len(unusable) > 0 {
		return map[string]string{"users": "lines of the users' file can never match: " + htpasswd.Lines(unusable) + "; the log says why"}
	}
	return nil
}

// Status is what the debug address answers at /status, as JSON.
type Status struct {
	Storage StorageStatus `json:"storage"`
}

// StorageStatus says how full the storage is, in bytes; both are zero where nobody knows.
type StorageStatus struct {
	Free uint64 `json:"free"`
	Size uint64 `json:"size"`
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	var status Status
	if free, size, ok := s.store.Space(r.Context()); ok {
		status.Storage = StorageStatus{Free: free, Size: size}
	}
	writeJSON(w, http.StatusOK, status)
}

// startDebug serves probes and metrics on the debug address, if there is one. It goes on while the server drains.
func (s *Server) startDebug(group *sync.WaitGroup) (io.Closer, error) {
	c := s.config.HTTP.Debug
	if c.Addr == "" {
		return io.NopCloser(nil), nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /status", s.status)
	if c.Prometheus.Enabled {
		mux.Handle("GET "+c.Prometheus.Path, s.metrics.Handler())
	}
	if c.Pprof.Enabled {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("http.debug.addr: %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	group.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the debug address is not served any more", "error", err)
		}
	})
	return server, nil
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	wrong := s.checks()
	if s.draining.Load() {
		wrong["server"] = "draining"
	}
	if len(wrong) == 0 {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, part := range sortedKeys(wrong) {
		fmt.Fprintf(w, "%s: %s\n", part, wrong[part])
	}
}
