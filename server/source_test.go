package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"packregistry.dev/server/config"
)

func TestFindOrigin(t *testing.T) {
	trusted := []string{"10.0.0.0/8", "192.0.2.1", "fd00::/8"}
	for _, tt := range []struct {
		name, remote string
		trusted      []string
		headers      string
		want         string // address, scheme, host
	}{
		{"no proxy", "203.0.113.9:1", trusted, "", "203.0.113.9"},
		{"nobody is trusted", "10.0.0.1:1", nil, "X-Forwarded-For: 198.51.100.7", "10.0.0.1"},
		{"not from a proxy", "203.0.113.9:1", trusted, "X-Forwarded-For: 198.51.100.7|X-Forwarded-Proto: https|X-Forwarded-Host: evil.example", "203.0.113.9"},
		{"one proxy", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7", "198.51.100.7"},
		{"a client that lies", "10.0.0.1:1", trusted, "X-Forwarded-For: 1.1.1.1, 198.51.100.7", "198.51.100.7"},
		{"two proxies", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7, 10.9.9.9", "198.51.100.7"},
		{"two lines", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7|X-Forwarded-For: 192.0.2.1", "198.51.100.7"},
		{"proxies alone", "10.0.0.1:1", trusted, "X-Forwarded-For: 10.2.2.2", "10.2.2.2"},
		{"nonsense", "10.0.0.1:1", trusted, "X-Forwarded-For: unknown", "10.0.0.1"},
		{"a port", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7:4711", "198.51.100.7"},
		{"mapped", "[::ffff:10.0.0.1]:1", trusted, "X-Forwarded-For: ::ffff:198.51.100.7", "198.51.100.7"},
		{"scheme and host", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7|X-Forwarded-Proto: https|X-Forwarded-Host: packs.example.com, inner", "198.51.100.7 https packs.example.com"},
		{"an evil host", "10.0.0.1:1", trusted, "X-Forwarded-Host: a/b@evil|X-Forwarded-Proto: javascript", "10.0.0.1"},
		{"RFC 7239", "10.0.0.1:1", trusted, `Forwarded: for="[2001:db8::1]:4711";proto=https;host=packs.example.com, for=10.2.2.2|X-Forwarded-For: 1.1.1.1`, "2001:db8::1 https packs.example.com"},
		{"RFC 7239, hidden", "10.0.0.1:1", trusted, `Forwarded: for=_hidden`, "10.0.0.1"},
		{"IPv6 proxy", "[fd00::1]:1", trusted, "X-Forwarded-For: 2001:db8::1", "2001:db8::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = tt.remote
			for line := range strings.SplitSeq(tt.headers, "|") {
				if name, value, ok := strings.Cut(line, ": "); ok {
					r.Header.Add(name, value)
				}
			}
			networks, err := config.ParseNetworks(tt.trusted)
			if err != nil {
				t.Fatal(err)
			}
			o := findOrigin(r, networks)
			if got := strings.TrimSpace(strings.Join([]string{o.addr.String(), o.scheme, o.host}, " ")); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzFindOrigin(f *testing.F) {
	f.Add("198.51.100.7, 10.0.0.1", `for="[::1]:1";host=a;proto=https`, "a")
	networks, err := config.ParseNetworks([]string{"0.0.0.0/0", "::/0"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, xff, forwarded, host string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Forwarded-For"] = []string{xff}
		r.Header["X-Forwarded-Host"] = []string{host}
		if forwarded != "" {
			r.Header["Forwarded"] = []string{forwarded}
		}
		o := findOrigin(r, networks)
		if strings.ContainsAny(o.host, "/@\r\n \"") || o.scheme != "" && o.scheme != "http" && o.scheme != "https" {
			t.Errorf("scheme %q, host %q", o.scheme, o.host)
		}
	})
}
