package server

import (
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"packregistry.dev/pack"
	"packregistry.dev/server/internal/clientip"
	"packregistry.dev/server/internal/cors"
	"packregistry.dev/server/internal/pages"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/internal/transfer"
	"packregistry.dev/server/store"
)

// ServeHTTP answers one request: it finds the route, asks who is there, calls the handler, renders an error, and writes
// one log line.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	started := time.Now()
	timeout := time.Duration(s.config.HTTP.Limits.StallTimeout)
	// All that a request needs, allocated at once.
	parts := &struct {
		request  request
		http     http.Request
		recorder transfer.Writer
		body     transfer.Body
	}{
		request: request{Request: hr, route: "none", client: clientip.Find(hr, s.proxies, s.config.HTTP.ClientIPHeader)},
	}
	r, recorder, body := &parts.request, &parts.recorder, &parts.body
	recorder.Init(w, timeout)
	body.Init(w, hr.Body, timeout, s.config.HTTP.Limits.MinRate)
	r.id = requestID(r)
	var span *telemetry.Span
	r.Request, span = s.tracing.Start(hr, r.client.Addr, r.id)
	if hr.Body != http.NoBody {
		// In a copy: net/http looks at the body of its own request when it decides whether to wait for the rest of it.
		parts.http = *r.Request
		parts.http.Body = body
		r.Request = &parts.http
	}
	if hr.ContentLength != 0 {
		body.Expect()
	}
	h := w.Header()
	for name, values := range s.headers {
		h[name] = values
	}
	cors.Allow(h, hr, s.headers)
	h["X-Request-Id"] = []string{r.id}
	s.metrics.InFlight.Inc()
	defer func() {
		s.metrics.InFlight.Dec()
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
				panic(p)
			}
			s.log.Error("a handler panicked", "request", r.id, "panic", p, "stack", string(debug.Stack()))
			if !recorder.Wrote() {
				writeError(recorder, fail(codeUnknown, ""))
			}
		}
		recorder.End(idleTimeout + headerTimeout)
		s.finish(r, recorder, body.Received(), time.Since(started))
		span.End(r.Method, r.route, recorder.Code())
	}()
	if err := s.route(recorder, r); err != nil {
		s.render(recorder, r, body, err)
	}
}

// Values of headers that every answer has. They are shared: who adds to a header gets a slice of its own, since these have
// no room.
var (
	apiVersion     = []string{"registry/2.0"}
	productVersion = []string{Version}
)

// corsHeaders are what clients of the API send.
const corsHeaders = "Accept, Authorization, Content-Range, Content-Type, If-Match, If-None-Match, " + forceHeader + ", Range, X-Request-Id"

// route finds the row and runs it, if the caller may.
func (s *Server) route(w http.ResponseWriter, r *request) error {
	path, ok := strings.CutPrefix(r.URL.Path, s.prefix)
	if !ok && r.URL.Path+"/" != s.prefix {
		return fail(codeNotFound, "")
	}
	if s.pages != nil && (strings.HasPrefix(path, pages.Path) || path+"/" == pages.Path || path == "" && pages.Wants(r.Request)) {
		return s.servePages(w, r, path)
	}
	row, api, name, param, allowed := match(r.Method, "/"+path)
	if row == nil {
		if len(allowed) > 0 && cors.Preflight(w, r.Request, s.headers, allowed, corsHeaders) {
			return nil
		}
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return fail(codeUnsupported, "%s is not served here; %s is", r.Method, strings.Join(allowed, ", "))
		}
		return fail(codeNotFound, "")
	}
	r.api, r.name, r.param, r.route = api, name, param, row.pattern
	if name != "" {
		full := s.repositoryName(api, name)
		if !store.ValidName(full) {
			return fail(codeNameInvalid, "%q: use lower-case letters and digits, separated by '.', '_', '-' or '/'", name)
		}
		r.repository = s.store.Repository(full)
	}
	if row.needs != open {
		h := w.Header()
		h["Docker-Distribution-Api-Version"], h["Packregistry-Version"] = apiVersion, productVersion
		h["X-Content-Type-Options"], h["Content-Security-Policy"] = noSniffing, s.contentPolicies
		if err := s.authenticate(w, r); err != nil {
			return err
		}
		if err := s.authorize(w, r, row.needs); err != nil {
			return err
		}
	}
	if err := s.checkPolicy(r, row.needs); err != nil {
		return err
	}
	if row.content {
		done, err := place(r, s.uploads, "http.limits.uploads")
		if err != nil {
			return err
		}
		defer done()
		s.metrics.Uploads.Inc()
		defer s.metrics.Uploads.Dec()
	}
	return row.handle(s, w, r)
}

// checkPolicy refuses what the configuration turned off, and what there is no room for.
func (s *Server) checkPolicy(r *request, needs permission) error {
	if needs != push && needs != del {
		return nil
	}
	if s.config.Storage.Maintenance.ReadOnly.Enabled {
		return fail(codeUnsupported, "the registry is read-only (storage.maintenance.readonly)")
	}
	if needs == del && !s.config.DeleteEnabled() {
		return fail(codeUnsupported, "deleting is turned off (storage.delete.enabled)")
	}
	if needs == push && r.repository != nil {
		if base, ok := s.basePaths.Reserved(r.repository.Name()); ok {
			return fail(codeNameInvalid, "%s is a base path (packs.basepaths), which holds packs alone: push them to %s/%s<name>", base, base, pack.ArchivePrefix)
		}
	}
	if needs == push && r.Method != http.MethodDelete && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return s.space.Check(r.Context(), max(r.ContentLength, 0))
	}
	return nil
}

// render answers with an error, and logs what is the server's own fault.
func (s *Server) render(w *transfer.Writer, r *request, body *transfer.Body, err error) {
	known := classify(err)
	switch {
	case known != nil:
	case r.Context().Err() != nil, body.HungUp():
		// Nobody reads the answer, and it is nobody's fault here.
		s.log.Debug("the client went away", "request", r.id, "error", err)
		known = fail(codeClientClosed, "")
	case body.Err() != nil:
		known = fail(codeUploadInvalid, "the request's content cannot be read: %w", body.Err())
	default:
		s.log.Error("a request failed", "request", r.id, "method", r.Method, "path", r.URL.Path, "error", err)
		known = fail(codeUnknown, "")
	}
	if w.Wrote() {
		return
	}
	writeError(w, known)
}

// finish writes the log line and the metrics of a request.
func (s *Server) finish(r *request, w *transfer.Writer, received int64, took time.Duration) {
	s.metrics.Request(telemetry.Request{Route: r.route, Method: r.Method, Code: w.Code(), Received: received, Sent: w.Sent(), Took: took})
	probe := r.route == "/health" // which comes every few seconds
	if s.combined != nil {
		if !probe {
			s.combined.Write(r.Request, r.client.Addr, r.user, w.Code(), w.Sent())
		}
		return
	}
	level := slog.LevelInfo
	if probe {
		level = slog.LevelDebug
	}
	if !s.access.Enabled(r.Context(), level) {
		return
	}
	s.access.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path, "status", w.Code(), "bytes", w.Sent(),
		"received", received, "seconds", took.Seconds(), "from", r.client.Addr, "user", r.user, "agent", telemetry.Clip(r.UserAgent()), "request", r.id)
}

// audit records a change: who did what to which repository.
func (s *Server) audit(r *request, what string, args ...any) {
	s.touch(r)
	s.log.Info(what, append([]any{"audit", true, "repository", r.repository.Name(), "user", r.user, "from", r.client.Addr, "request", r.id}, args...)...)
}

// requestID takes over the id that a trusted proxy gave the request, if it is a harmless one. A client's own would let it write
// into the log what looks like another's request.
func requestID(r *request) string {
	id := r.Header.Get("X-Request-Id")
	if r.client.Proxied && len(id) >= 8 && len(id) <= 64 && strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == "" {
		return id
	}
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(b[:])
}

func quote(s string) string { return strconv.Quote(s) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
