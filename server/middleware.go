package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/store"
)

// ServeHTTP answers one request: it finds the route, asks who is there, calls the handler, renders an error, and writes
// one log line.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	started := time.Now()
	r := &request{Request: hr, id: requestID(hr), route: "none"}
	recorder := &recorder{ResponseWriter: w}
	body := &countedBody{ReadCloser: hr.Body}
	hr.Body = body
	for name, values := range s.config.HTTP.Headers {
		w.Header()[name] = slices.Clone([]string(values))
	}
	w.Header().Set("X-Request-Id", r.id)
	s.metrics.inFlight.Inc()
	defer func() {
		s.metrics.inFlight.Dec()
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
				panic(p)
			}
			s.log.Error("a handler panicked", "request", r.id, "panic", p, "stack", string(debug.Stack()))
			if !recorder.wrote() {
				writeError(recorder, fail(codeUnknown, ""))
			}
		}
		s.finish(r, recorder, body.n, time.Since(started))
	}()
	if err := s.route(recorder, r); err != nil {
		s.render(recorder, r, err)
	}
}

// route finds the row and runs it, if the caller may.
func (s *Server) route(w http.ResponseWriter, r *request) error {
	path, ok := strings.CutPrefix(r.URL.Path, s.prefix)
	if !ok && r.URL.Path+"/" != s.prefix {
		return fail(codeNotFound, "")
	}
	row, door, name, param, allowed := match(r.Method, "/"+path)
	if row == nil {
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return fail(codeUnsupported, "%s is not served here; %s is", r.Method, strings.Join(allowed, ", "))
		}
		return fail(codeNotFound, "")
	}
	r.door, r.name, r.param, r.route = door, name, param, row.pattern
	if row.needs != open {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		w.Header().Set("Packregistry-Version", Version)
		if err := s.authenticate(w, r); err != nil {
			return err
		}
	}
	if err := s.permit(row.needs); err != nil {
		return err
	}
	if name != "" {
		full := repositoryName(door, name)
		if !store.ValidName(full) {
			return fail(codeNameInvalid, "%q: use lower-case letters and digits, separated by '.', '_', '-' or '/'", name)
		}
		r.repository = s.store.Repository(full)
	}
	return row.handle(s, w, r)
}

// permit refuses what the configuration turned off.
func (s *Server) permit(needs permission) error {
	if needs != push && needs != del {
		return nil
	}
	if s.config.Storage.Maintenance.ReadOnly.Enabled {
		return fail(codeUnsupported, "the registry is read-only (storage.maintenance.readonly)")
	}
	if needs == del && !s.config.DeleteEnabled() {
		return fail(codeUnsupported, "deleting is turned off (storage.delete.enabled)")
	}
	return nil
}

func (s *Server) authenticate(w http.ResponseWriter, r *request) error {
	if s.users == nil {
		return nil
	}
	user, password, ok := r.BasicAuth()
	err := auth.ErrDenied
	if ok {
		err = s.users.Check(r.Context(), user, password)
	}
	switch {
	case err == nil:
		r.user = user
		return nil
	case !errors.Is(err, auth.ErrDenied):
		return err // the client went away
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="`+s.config.Auth.HTPasswd.Realm+`", charset="UTF-8"`)
	if ok {
		s.metrics.denied.Inc()
		s.log.Warn("login refused", "user", clip(user), "from", remoteHost(r.Request), "request", r.id)
		return fail(codeUnauthorized, "unknown user or wrong password")
	}
	return fail(codeUnauthorized, "")
}

// render answers with an error, and logs what is the server's own fault.
func (s *Server) render(w *recorder, r *request, err error) {
	known := classify(err)
	switch {
	case known != nil:
	case r.Context().Err() != nil, errors.Is(err, context.Canceled), errors.Is(err, io.ErrUnexpectedEOF):
		// The client went away; nobody reads the answer, and it is nobody's fault.
		s.log.Debug("the client went away", "request", r.id, "error", err)
		known = fail(codeUploadInvalid, "the request ended before its content did")
	default:
		s.log.Error("a request failed", "request", r.id, "method", r.Method, "path", r.URL.Path, "error", err)
		known = fail(codeUnknown, "")
	}
	if w.wrote() {
		return
	}
	writeError(w, known)
}

// finish writes the log line and the metrics of a request.
func (s *Server) finish(r *request, w *recorder, received int64, took time.Duration) {
	s.metrics.observe(r, w, received, took)
	level := slog.LevelInfo
	if r.route == "/health" {
		level = slog.LevelDebug // probes come every few seconds
	}
	s.access.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path, "status", w.code(), "bytes", w.n,
		"received", received, "seconds", took.Seconds(), "from", remoteHost(r.Request), "user", r.user, "agent", clip(r.UserAgent()), "request", r.id)
}

// audit records a change: who did what to which repository.
func (s *Server) audit(r *request, what string, args ...any) {
	s.log.Info(what, append([]any{"audit", true, "repository", r.repository.Name(), "user", r.user, "from", remoteHost(r.Request), "request", r.id}, args...)...)
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// clip bounds what a client can write into the log.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// requestID takes over an id that a proxy gave the request, if it is a harmless one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if len(id) >= 8 && len(id) <= 64 && strings.Trim(id, "0123456789abcdefABCDEFghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ-_") == "" {
		return id
	}
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(b[:])
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	n      int64
}

func (w *recorder) wrote() bool { return w.status != 0 }

func (w *recorder) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	w.status = w.code()
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// ReadFrom keeps the way open by which the kernel sends a file to a socket.
func (w *recorder) ReadFrom(from io.Reader) (int64, error) {
	w.status = w.code()
	n, err := io.Copy(w.ResponseWriter, from)
	w.n += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// countedBody counts what a client sends.
type countedBody struct {
	io.ReadCloser
	n int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}
