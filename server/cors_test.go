package server

import (
	"slices"
	"strings"
	"testing"

	"packregistry.dev/server/store/driver/inmemory"
)

const (
	allowOrigin   = "Access-Control-Allow-Origin"
	requestMethod = "Access-Control-Request-Method"
)

func TestPreflight(t *testing.T) {
	users := newUsers(t)
	f := start(t, inmemory.New(), "}\nhttp: {headers: {Access-Control-Allow-Origin: 'https://ui.example.com'}}", users)
	for _, path := range []string{"/v2/a/b/manifests/t", "/v1/a/manifests/t"} {
		// It comes without a credential, which the request itself needs.
		r := f.do("OPTIONS", path, nil, "Origin", "https://ui.example.com", requestMethod, "DELETE", "Access-Control-Request-Headers", "authorization")
		f.want(r, 204)
		if r.Header.Get(allowOrigin) != "https://ui.example.com" || r.Header.Get("Access-Control-Allow-Methods") != "GET, HEAD, PUT, DELETE" ||
			!strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("%s: %v", path, r.Header)
		}
		f.want(f.do("DELETE", path, nil, "Origin", "https://ui.example.com"), 401)
		// Another origin, no preflight, no origin.
		f.want(f.do("OPTIONS", path, nil, "Origin", "https://evil.example.com", requestMethod, "DELETE"), 405)
		f.want(f.do("OPTIONS", path, nil, "Origin", "https://ui.example.com"), 405)
		f.want(f.do("OPTIONS", path, nil, requestMethod, "DELETE"), 405)
	}
	f.want(f.do("OPTIONS", "/nowhere", nil, "Origin", "https://ui.example.com", requestMethod, "GET"), 404)
	f.want(f.do("OPTIONS", "/health", nil, "Origin", "https://ui.example.com", requestMethod, "GET"), 204)
	f = open0(t)
	f.want(f.do("OPTIONS", "/v2/", nil, "Origin", "https://ui.example.com", requestMethod, "GET"), 405)
}

func TestPreflightAsConfigured(t *testing.T) {
	f := start(t, inmemory.New(), `}
http:
  headers:
    Access-Control-Allow-Origin: [https://one.example.com, https://two.example.com]
    Access-Control-Allow-Methods: [HEAD, GET, OPTIONS]
    Access-Control-Allow-Headers: [Authorization]
    Access-Control-Max-Age: [1728000]
`, nil)
	for _, origin := range []string{"https://one.example.com", "https://two.example.com"} {
		r := f.do("OPTIONS", "/v2/a/tags/list", nil, "Origin", origin, requestMethod, "GET")
		f.want(r, 204)
		if !slices.Equal(r.Header.Values("Access-Control-Allow-Methods"), []string{"HEAD", "GET", "OPTIONS"}) || r.Header.Get("Access-Control-Allow-Headers") != "Authorization" ||
			r.Header.Get("Access-Control-Max-Age") != "1728000" {
			t.Errorf("%v", r.Header)
		}
		// Browsers take one origin, in the preflight's answer and in the others.
		get := f.do("GET", "/v2/", nil, "Origin", origin)
		for _, got := range []string{strings.Join(r.Header.Values(allowOrigin), ","), strings.Join(get.Header.Values(allowOrigin), ",")} {
			if got != origin {
				t.Errorf("allows %q", got)
			}
		}
		if r.Header.Get("Vary") != "Origin" {
			t.Errorf("Vary: %q", r.Header.Get("Vary"))
		}
	}
	f = start(t, inmemory.New(), "}\nhttp: {headers: {Access-Control-Allow-Origin: '*'}}", nil)
	f.want(f.do("OPTIONS", "/v2/", nil, "Origin", "https://any.example.com", requestMethod, "GET"), 204)
}

// Location and Link name the same host.
func TestLinksFollowTheHost(t *testing.T) {
	for name, tt := range map[string]struct{ config, want string }{
		"relative":      {"", "/v2/"},
		"the host":      {"\nhttp: {host: 'https://packs.example.com/'}", "https://packs.example.com/v2/"},
		"absolute":      {"\nhttp: {relativeurls: false}", "http://registry.test/v2/"},
		"relative wins": {"\nhttp: {host: 'https://packs.example.com', relativeurls: true}", "/v2/"},
		"a prefix":      {"\nhttp: {host: 'https://packs.example.com', prefix: /p/}", "https://packs.example.com/p/v2/"},
		"a proxy":       {"\nhttp: {relativeurls: false, trustedproxies: 127.0.0.1}", "https://outside.test/v2/"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, inmemory.New(), "}"+tt.config, nil)
			prefix := strings.TrimSuffix(f.prefix, "/")
			proxy := []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "outside.test", "Host", "registry.test"}
			f.tagPaths(prefix+"/v2/a/b", "t1", "t2")
			location := f.do("POST", prefix+"/v2/a/b/blobs/uploads/", nil, proxy...).Header.Get("Location")
			if !strings.HasPrefix(location, tt.want+"a/b/blobs/uploads/") {
				t.Errorf("Location %q", location)
			}
			link := f.do("GET", prefix+"/v2/a/b/tags/list?n=1", nil, proxy...).Header.Get("Link")
			if link != "<"+tt.want+`a/b/tags/list?last=t1&n=1>; rel="next"` {
				t.Errorf("Link %q", link)
			}
		})
	}
}
