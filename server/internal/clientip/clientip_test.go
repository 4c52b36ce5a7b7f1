package clientip

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/server/config"
)

func TestFind(t *testing.T) {
	trusted := []string{"10.0.0.0/8", "192.0.2.1", "fd00::/8"}
	for _, tt := range []struct {
		name, remote string
		trusted      []string
		headers      string
		want         string // address, scheme, host
		header       string // http.clientipheader
	}{
		{"no proxy", "203.0.113.9:1", trusted, "", "203.0.113.9", "X-Forwarded-For"},
		{"nobody is trusted", "10.0.0.1:1", nil, "X-Forwarded-For: 198.51.100.7", "10.0.0.1", "X-Forwarded-For"},
		{"not from a proxy", "203.0.113.9:1", trusted, "X-Forwarded-For: 198.51.100.7|X-Forwarded-Proto: https|X-Forwarded-Host: evil.example", "203.0.113.9", "X-Forwarded-For"},
		{"one proxy", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7", "198.51.100.7", "X-Forwarded-For"},
		{"a client that lies", "10.0.0.1:1", trusted, "X-Forwarded-For: 1.1.1.1, 198.51.100.7", "198.51.100.7", "X-Forwarded-For"},
		{"two proxies", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7, 10.9.9.9", "198.51.100.7", "X-Forwarded-For"},
		{"two lines", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7|X-Forwarded-For: 192.0.2.1", "198.51.100.7", "X-Forwarded-For"},
		{"proxies alone", "10.0.0.1:1", trusted, "X-Forwarded-For: 10.2.2.2", "10.2.2.2", "X-Forwarded-For"},
		{"nonsense", "10.0.0.1:1", trusted, "X-Forwarded-For: unknown", "10.0.0.1", "X-Forwarded-For"},
		{"a port", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7:4711", "198.51.100.7", "X-Forwarded-For"},
		{"mapped", "[::ffff:10.0.0.1]:1", trusted, "X-Forwarded-For: ::ffff:198.51.100.7", "198.51.100.7", "X-Forwarded-For"},
		{"scheme and host", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7|X-Forwarded-Proto: https|X-Forwarded-Host: packs.example.com, inner", "198.51.100.7 https packs.example.com", "X-Forwarded-For"},
		{"an evil host", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7|X-Forwarded-Host: a/b@evil|X-Forwarded-Proto: javascript", "198.51.100.7", "X-Forwarded-For"},
		{"RFC 7239", "10.0.0.1:1", trusted, `Forwarded: for="[2001:db8::1]:4711";proto=https;host=packs.example.com, for=10.2.2.2|X-Forwarded-For: 1.1.1.1`, "2001:db8::1 https packs.example.com", "Forwarded"},
		{"RFC 7239, hidden", "10.0.0.1:1", trusted, `Forwarded: for=_hidden`, "10.0.0.1", "Forwarded"},
		{"a client's Forwarded beside the proxy's X-Forwarded-For", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7|Forwarded: for=1.1.1.1;host=evil.example;proto=http", "198.51.100.7", "X-Forwarded-For"},
		{"a client's X-Real-IP beside it", "10.0.0.1:1", trusted, "X-Forwarded-For: 198.51.100.7|X-Real-Ip: 1.1.1.1", "198.51.100.7", "X-Forwarded-For"},
		{"a client's Forwarded alone", "10.0.0.1:1", trusted, "Forwarded: for=1.1.1.1;host=evil.example;proto=http", "10.0.0.1", "X-Forwarded-For"},
		{"a client's X-Forwarded-* beside the proxy's Forwarded", "10.0.0.1:1", trusted, "Forwarded: for=198.51.100.7|X-Forwarded-For: 1.1.1.1|X-Forwarded-Host: evil.example|X-Forwarded-Proto: http|X-Real-Ip: 1.1.1.1", "198.51.100.7", "Forwarded"},
		{"a client's X-Forwarded-* alone, where the proxy sets Forwarded", "10.0.0.1:1", trusted, "X-Forwarded-For: 1.1.1.1|X-Forwarded-Host: evil.example", "10.0.0.1", "Forwarded"},
		{"scheme and host without the address", "10.0.0.1:1", trusted, "X-Forwarded-Host: evil.example|X-Forwarded-Proto: http", "10.0.0.1", "X-Forwarded-For"},
		{"a client's own element of Forwarded", "10.0.0.1:1", trusted, "Forwarded: for=1.1.1.1;host=evil.example;proto=http, for=198.51.100.7;host=packs.example.com;proto=https", "198.51.100.7 https packs.example.com", "Forwarded"},
		{"an unclosed quote in a client's element", "10.0.0.1:1", trusted, `Forwarded: for="1.1.1.1|Forwarded: for=198.51.100.7`, "198.51.100.7", "Forwarded"},
		{"X-Real-IP", "10.0.0.1:1", trusted, "X-Real-Ip: 198.51.100.7|X-Forwarded-For: 1.1.1.1|X-Forwarded-Host: evil.example|X-Forwarded-Proto: http|Forwarded: for=1.1.1.1;host=evil.example", "198.51.100.7", "X-Real-IP"},
		{"X-Real-IP twice", "10.0.0.1:1", trusted, "X-Real-Ip: 1.1.1.1|X-Real-Ip: 198.51.100.7", "198.51.100.7", "X-Real-IP"},
		{"no X-Real-IP", "10.0.0.1:1", trusted, "X-Forwarded-For: 1.1.1.1", "10.0.0.1", "X-Real-IP"},
		{"IPv6 proxy", "[fd00::1]:1", trusted, "X-Forwarded-For: 2001:db8::1", "2001:db8::1", "X-Forwarded-For"},
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
			c := Find(r, networks, tt.header)
			if got := strings.TrimSpace(strings.Join([]string{c.Addr.String(), c.Scheme, c.Host}, " ")); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzFind(f *testing.F) {
	f.Add("198.51.100.7, 10.0.0.1", `for="[::1]:1";host=a;proto=https`, "a")
	f.Add(strings.Repeat("10.0.0.1,", 5000), strings.Repeat(`for="[::1]:1";`, 3000), "[::1]")
	f.Add("", `for="`+strings.Repeat(`\\`, 20000), "")
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
		for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP"} {
			checkClient(t, Find(r, networks, header))
			testfuzz.Proportionate(t, len(xff)+len(forwarded)+len(host), func() { Find(r, networks, header) })
		}
	})
}

func checkClient(t *testing.T, c Client) {
	t.Helper()
	if strings.ContainsAny(c.Host, "/@\r\n \"") || c.Scheme != "" && c.Scheme != "http" && c.Scheme != "https" {
		t.Errorf("scheme %q, host %q", c.Scheme, c.Host)
	}
}
