package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
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

// handshake returns the serial number of the certificate that is served for a name.
func handshake(p *testserver.Pebble, addr, name string) (string, error) {
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, RootCAs: p.Roots, MinVersion: tls.VersionTLS12})
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func acmeConfig(p *testserver.Pebble, storage, addr, more string) string {
	return fmt.Sprintf(`
version: 0.1
storage: %s
http:
  addr: %s
  draintimeout: 1ms
  tls:
    letsencrypt: {email: admin@example.com, hosts: [packs.example.com, mirror.example.com], directoryurl: %q, cafile: %s, %s}
`, storage, addr, p.DirectoryURL, p.CAFile, more)
}

func waitForFiles(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		testserver.Eventually(t, path+" is there", time.Minute, func() bool {
			_, err := os.Stat(path)
			return err == nil
		})
	}
}

// orders counts what the issuer was asked for.
func orders(p *testserver.Pebble) int { return strings.Count(p.Process.Output.String(), "order") }

func TestLetsEncrypt(t *testing.T) {
	p := testserver.StartPebble(t, 90*24*time.Hour)
	for name, tt := range map[string]struct{ addr, more string }{
		"TLS-ALPN-01": {p.TLSAddr, ""},
		"HTTP-01":     {testserver.FreeAddr(t), "httpaddr: " + p.HTTPAddr},
	} {
		t.Run(name, func(t *testing.T) {
			cache := filepath.Join(t.TempDir(), "le-cache")
			text := acmeConfig(p, "inmemory", tt.addr, strings.Trim("cachefile: "+cache+", "+tt.more, ", "))
			_, log, stop := runConfig(t, text)
			serials := map[string]string{}
			for _, host := range []string{"packs.example.com", "mirror.example.com"} {
				testserver.Eventually(t, "a certificate for "+host, time.Minute, func() bool {
					var err error
					serials[host], err = handshake(p, tt.addr, host)
					return err == nil
				})
			}
			// Nobody can make the registry order a certificate for another name.
			before := orders(p)
			if _, err := handshake(p, tt.addr, "evil.example.com"); err == nil {
				t.Error("a handshake for an unknown host went through")
			}
			if orders(p) != before {
				t.Error("a certificate was ordered for an unknown host")
			}
			// Whoever names no host gets the first one's.
			c, err := tls.Dial("tcp", tt.addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // looked at below
			if err != nil {
				t.Fatal(err)
			}
			if leaf := c.ConnectionState().PeerCertificates[0]; leaf.DNSNames[0] != "packs.example.com" {
				t.Errorf("without a name: %v", leaf.DNSNames)
			}
			c.Close()
			if !log.says("has a certificate") {
				t.Errorf("the log says nothing: %s", log.String())
			}
			// A certificate is served a moment before it is kept.
			waitForFiles(t, filepath.Join(cache, "packs.example.com"), filepath.Join(cache, "mirror.example.com"))
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			// A restart serves what is in the cache.
			_, _, stop = runConfig(t, text)
			if serial, err := handshake(p, tt.addr, "packs.example.com"); err != nil || serial != serials["packs.example.com"] {
				t.Errorf("after a restart: %s, %v; was %s", serial, err, serials["packs.example.com"])
			}
			if orders(p) != before {
				t.Error("a restart ordered a certificate")
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(cache)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s can be read by others: %v, %v", e.Name(), info.Mode(), err)
				}
			}
		})
	}
}

// Two replicas on one store: the second finds what the first obtained, and answers challenges for it.
func TestReplicasShareCertificates(t *testing.T) {
	p := testserver.StartPebble(t, 90*24*time.Hour)
	root := t.TempDir()
	storage := "{filesystem: {rootdirectory: " + root + "}}"
	first, _, _ := runConfig(t, acmeConfig(p, storage, p.TLSAddr, "cachestorage: true"))
	var serial string
	testserver.Eventually(t, "a certificate", time.Minute, func() bool {
		var err error
		serial, err = handshake(p, first, "packs.example.com")
		return err == nil
	})
	testserver.Eventually(t, "the other host's", time.Minute, func() bool {
		_, err := handshake(p, first, "mirror.example.com")
		return err == nil
	})
	kept := filepath.Join(root, "objects", "a", "acme-")
	waitForFiles(t, kept+"packs.example.com", kept+"mirror.example.com")
	before := orders(p)
	second, _, _ := runConfig(t, acmeConfig(p, storage, "127.0.0.1:0", "cachestorage: true"))
	if got, err := handshake(p, second, "packs.example.com"); err != nil || got != serial {
		t.Errorf("the second replica serves %s (%v), the first %s", got, err, serial)
	}
	if orders(p) != before {
		t.Error("the second replica ordered a certificate")
	}
}

func TestCertificatesAreRenewed(t *testing.T) {
	p := testserver.StartPebble(t, 12*time.Second)
	addr, _, _ := runConfig(t, acmeConfig(p, "inmemory", p.TLSAddr, "cachestorage: true"))
	var first string
	testserver.Eventually(t, "a certificate", time.Minute, func() bool {
		var err error
		first, err = handshake(p, addr, "packs.example.com")
		return err == nil
	})
	testserver.Eventually(t, "another one", time.Minute, func() bool {
		again, err := handshake(p, addr, "packs.example.com")
		if err != nil {
			t.Fatalf("while it is renewed: %v", err)
		}
		return again != first
	})
}

// limiter stands before an ACME server and refuses orders as Let's Encrypt does.
func limiter(t *testing.T, p *testserver.Pebble) (*acmeCertificates, *lockedLog, *atomic.Int64) {
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
	var log lockedLog
	a, err := newACME(&config.LetsEncrypt{Hosts: []string{"packs.example.com"}, CacheStorage: true, DirectoryURL: front.URL + "/dir", CAFile: filepath.Join(dir, "cert.pem")},
		s, telemetry.NewMetrics(), slog.New(slog.NewTextHandler(&log, nil)))
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
	if !log.says("the issuer's rate limit is reached") || !log.says("host=packs.example.com") || strings.Count(log.String(), "level=ERROR") != 1 {
		t.Errorf("log: %s", log.String())
	}
	if got := scrape(t, a.metrics); !strings.Contains(got, `packregistry_acme_attempts_total{result="limited"} 1`) || !strings.Contains(got, `result="put_off"} 50`) {
		t.Errorf("metrics: %s", got)
	}
	// Another replica was luckier: what it left in the cache is used at once.
	other, err := newACME(&config.LetsEncrypt{Hosts: []string{"packs.example.com"}, CacheStorage: true, DirectoryURL: p.DirectoryURL, CAFile: p.CAFile}, a.cache.(storeCache).s, telemetry.NewMetrics(), slog.New(slog.DiscardHandler)) //nolint:errcheck,forcetypeassert // it is one
	if err != nil {
		t.Fatal(err)
	}
	serveTLS(t, p.TLSAddr, other)
	testserver.Eventually(t, "the other replica has a certificate", time.Minute, func() bool {
		_, err := handshake(p, p.TLSAddr, "packs.example.com")
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
	a, err := newACME(&config.LetsEncrypt{Hosts: []string{"A.example.com.", "a.example.com"}, CacheStorage: true}, s, telemetry.NewMetrics(), slog.New(slog.DiscardHandler))
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
		if _, err := newACME(&c, nil, telemetry.NewMetrics(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
