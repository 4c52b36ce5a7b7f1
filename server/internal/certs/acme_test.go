package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"packregistry.dev/internal/pemfile"
	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
)

// options keep certificates in s.
func options(s *store.Store, log *slog.Logger) Options {
	return Options{Store: s, Metrics: telemetry.NewMetrics(), Log: log}
}

// limiter stands before an ACME server and refuses orders as Let's Encrypt does.
func limiter(t *testing.T, p *testserver.Pebble) (*acmeCertificates, *testserver.Output, *atomic.Int64) {
	t.Helper()
	target, err := url.Parse("https://" + p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	testserver.Certificate(t, dir, "cert.pem", "key.pem", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	transport, err := pemfile.Transport(p.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/order-plz") {
			refused.Add(1)
			nonce, err := (&http.Client{Transport: transport}).Head("https://" + p.Addr + "/nonce-plz") //nolint:noctx // a server of ours
			if err == nil {
				nonce.Body.Close()
				w.Header().Set("Replay-Nonce", nonce.Header.Get("Replay-Nonce"))
			}
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates already issued","status":429}`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	front.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	front.StartTLS()
	t.Cleanup(front.Close)
	s, err := store.Open(t.Context(), inmemory.New())
	if err != nil {
		t.Fatal(err)
	}
	var log testserver.Output
	a, err := newACME(&config.LetsEncrypt{Hosts: []string{"packs.example.com"}, CacheStorage: true, DirectoryURL: front.URL + "/dir", CAFile: filepath.Join(dir, "cert.pem")},
		options(s, slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	return a, &log, &refused
}

func TestRateLimitsAreRespected(t *testing.T) {
	p := testserver.StartPebble(t, time.Hour)
	a, log, refused := limiter(t, p)
	now := time.Now()
	a.now = func() time.Time { return now }
	hello := &tls.ClientHelloInfo{ServerName: "packs.example.com", CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
	if _, err := a.get(hello); err == nil {
		t.Fatal("a certificate came from nowhere")
	}
	if refused.Load() == 0 {
		t.Fatal("the limit was never met")
	}
	before := refused.Load()
	for range 50 { // clients go on connecting
		if _, err := a.get(hello); err == nil {
			t.Fatal("a certificate came from nowhere")
		}
	}
	if refused.Load() != before {
		t.Errorf("%d more orders during the pause", refused.Load()-before)
	}
	if until := a.state["packs.example.com"].until; until.Sub(now) < 23*time.Hour {
		t.Errorf("the issuer asked for a day, the pause ends at %s", until)
	}
	if !strings.Contains(log.String(), "the issuer's rate limit is reached") || !strings.Contains(log.String(), "host=packs.example.com") || strings.Count(log.String(), "level=ERROR") != 1 {
		t.Errorf("log: %s", log.String())
	}
	if got := testserver.Scrape(t, a.metrics.Handler()); !strings.Contains(got, `packregistry_acme_attempts_total{result="limited"} 1`) || !strings.Contains(got, `result="put_off"} 50`) {
		t.Errorf("metrics: %s", got)
	}
	// Another replica was luckier: what it left in the cache is used at once.
	other, err := newACME(&config.LetsEncrypt{Hosts: []string{"packs.example.com"}, CacheStorage: true, DirectoryURL: p.DirectoryURL, CAFile: p.CAFile}, options(a.cache.(storeCache).s, slog.New(slog.DiscardHandler))) //nolint:errcheck,forcetypeassert // it is one
	if err != nil {
		t.Fatal(err)
	}
	serveTLS(t, p.TLSAddr, other)
	testserver.Eventually(t, "the other replica has a certificate", time.Minute, func() bool {
		_, err := p.Handshake(p.TLSAddr, "packs.example.com")
		return err == nil
	})
	// (autocert itself looks again a minute after a failure.)
	now = now.Add(2 * cacheLookPause)
	if err := a.wait(t.Context(), "packs.example.com"); err != nil {
		t.Errorf("though the certificate is there: %v", err)
	}
}

// serveTLS serves handshakes with a's certificates.
func serveTLS(t *testing.T, addr string, a *acmeCertificates) {
	t.Helper()
	c, err := newCertificates(&config.TLS{MinimumTLS: "tls1.2"}, a, telemetry.NewMetrics(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", addr, c.config(true))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go server.Serve(l) //nolint:errcheck // closed below
	t.Cleanup(func() { server.Close() })
}

func TestPausesGrow(t *testing.T) {
	s, err := store.Open(t.Context(), inmemory.New())
	if err != nil {
		t.Fatal(err)
	}
	a, err := newACME(&config.LetsEncrypt{Hosts: []string{"A.example.com.", "a.example.com"}, CacheStorage: true}, options(s, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.hosts) != 1 {
		t.Fatalf("hosts: %v", a.hosts)
	}
	now := time.Now()
	a.now = func() time.Time { return now }
	for _, want := range []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, 80 * time.Minute, 2 * time.Hour, 2 * time.Hour} {
		a.failed("a.example.com", now, errors.New("x"))
		a.failed("a.example.com", now, errors.New("another who waited for the same attempt"))
		if got := a.state["a.example.com"].until.Sub(now); got != want {
			t.Errorf("pause of %s, want %s", got, want)
		}
		now = now.Add(want + time.Second)
	}
}

func TestACMEOptionsThatCannotWork(t *testing.T) {
	for name, c := range map[string]config.LetsEncrypt{
		"cafile":    {Hosts: []string{"a.example.com"}, CacheStorage: true, CAFile: "/none/ca.crt"},
		"cachefile": {Hosts: []string{"a.example.com"}, CacheFile: "/proc/none"},
	} {
		if _, err := newACME(&c, options(nil, slog.New(slog.DiscardHandler))); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
