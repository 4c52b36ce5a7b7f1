package server

import (
	"net/http"
	"slices"
	"strings"
)

// Cross-origin requests (the Fetch standard, "CORS protocol") of pages that http.headers lets in with
// Access-Control-Allow-Origin. Before most requests a browser asks whether it may send them, without credentials; headers
// of the configuration answer that where they are set, and these where they are not.

// corsHeaders are what clients of the API send.
const corsHeaders = "Accept, Authorization, Content-Range, Content-Type, If-Match, If-None-Match, " + forceHeader + ", Range, X-Request-Id"

// allowOrigin leaves one origin in an answer where the configuration has several: browsers accept no more than one.
func (s *Server) allowOrigin(h http.Header, r *http.Request) {
	const name = "Access-Control-Allow-Origin"
	if allowed := s.headers[name]; len(allowed) > 1 {
		h[name] = []string{allowed[0]}
		h.Add("Vary", "Origin")
		if origin := r.Header.Get("Origin"); slices.Contains(allowed, origin) {
			h[name] = []string{origin}
		}
	}
}

// preflight answers a browser that asks whether a page may send a request, and says whether it did.
func (s *Server) preflight(w http.ResponseWriter, r *request, methods []string) bool {
	allowed, origin := s.headers["Access-Control-Allow-Origin"], r.Header.Get("Origin")
	if r.Method != http.MethodOptions || origin == "" || r.Header.Get("Access-Control-Request-Method") == "" ||
		!slices.Contains(allowed, origin) && !slices.Contains(allowed, "*") {
		return false
	}
	h := w.Header()
	for name, value := range map[string]string{"Access-Control-Allow-Methods": strings.Join(methods, ", "), "Access-Control-Allow-Headers": corsHeaders} {
		if len(h[name]) == 0 {
			h.Set(name, value)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
