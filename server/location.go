package server

import (
	"net/http"
	"net/url"
	"strings"
)

// location is the URL of a path of the API that the request came through, for Location and Link: relative to the host
// unless the configuration says which host clients see, or that locations are absolute.
func (s *Server) location(r *request, path string) string {
	base := ""
	switch relative := s.config.HTTP.RelativeURLs; {
	case relative != nil && *relative:
	case s.config.HTTP.Host != "", relative != nil:
		base = s.base(r)
	}
	return base + s.prefix + r.api + path
}

// base is scheme and host as the client sees them: as the configuration says, or else as the request came.
func (s *Server) base(r *request) string {
	if s.config.HTTP.Host != "" {
		return strings.TrimSuffix(s.config.HTTP.Host, "/")
	}
	scheme, host := r.client.Scheme, r.client.Host
	if scheme == "" {
		scheme = "http"
		if r.TLS != nil {
			scheme = "https"
		}
	}
	if host == "" {
		host = r.Host
	}
	return scheme + "://" + host
}

// knowsBase says whether base is what the client sees. A request of plain HTTP does not show it: what ends TLS in front of the
// server may add no header at all (nginx's plain proxy_pass, a load balancer of TCP), or set Host to a name of its own. A URL made
// of that would lead nowhere, or make clients send passwords in the clear.
func (s *Server) knowsBase(r *request) bool {
	return s.config.HTTP.Host != "" || r.client.Scheme != "" || r.TLS != nil
}

// link announces the next page (RFC 8288).
func (s *Server) link(w http.ResponseWriter, r *request, path string, query url.Values) {
	w.Header().Set("Link", "<"+s.location(r, path)+"?"+query.Encode()+`>; rel="next"`)
}
