// Package cors answers cross-origin requests (the Fetch standard, "CORS protocol") of pages that http.headers lets in with
// Access-Control-Allow-Origin. Before most requests a browser asks whether it may send them, without credentials; headers
// of the configuration answer that where they are set, and those of this package where they are not.
package cors

import (
	"net/http"
	"slices"
	"strings"
)

const allowOrigin = "Access-Control-Allow-Origin"

// Allow leaves one origin in an answer where the configuration has several: browsers accept no more than one. headers are those
// of every answer.
func Allow(h http.Header, r *http.Request, headers map[string][]string) {
	if allowed := headers[allowOrigin]; len(allowed) > 1 {
		h[allowOrigin] = []string{allowed[0]}
		h.Add("Vary", "Origin")
		if origin := r.Header.Get("Origin"); slices.Contains(allowed, origin) {
			h[allowOrigin] = []string{origin}
		}
	}
}

// Preflight answers a browser that asks whether a page may send a request, by one of some methods and with some headers, and says whether it did.
func Preflight(w http.ResponseWriter, r *http.Request, headers map[string][]string, methods []string, clients string) bool {
	allowed, origin := headers[allowOrigin], r.Header.Get("Origin")
	if r.Method != http.MethodOptions || origin == "" || r.Header.Get("Access-Control-Request-Method") == "" ||
		!slices.Contains(allowed, origin) && !slices.Contains(allowed, "*") {
		return false
	}
	h := w.Header()
	for name, value := range map[string]string{"Access-Control-Allow-Methods": strings.Join(methods, ", "), "Access-Control-Allow-Headers": clients} {
		if len(h[name]) == 0 {
			h.Set(name, value)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
