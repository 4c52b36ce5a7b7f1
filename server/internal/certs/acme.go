package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"packregistry.dev/internal/pemfile"
	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/telemetry"
)

// acmeCertificates obtains certificates from an ACME server (RFC 8555) and renews them. autocert does the work; what is
// added here is patience: a host that failed is left alone for a while, since issuers count failures and then refuse for
// hours, and everybody who tries to connect would count.
type acmeCertificates struct {
	manager *autocert.Manager
	cache   autocert.Cache
	hosts   []string
	log     *slog.Logger
	metrics *telemetry.Metrics
	now     func() time.Time

	mu    sync.Mutex
	state map[string]*hostState
}

// hostState is what is known of one host.
type hostState struct {
	failures int
	until    time.Time
	// looked is when the cache was last asked during a pause: another replica may have been luckier.
	looked time.Time
	serial string
}

// Pauses after failures double from the first to the longest. Let's Encrypt takes five failed validations of a name in
// an hour, and one attempt can be two.
const (
	firstACMEPause   = 5 * time.Minute
	longestACMEPause = 2 * time.Hour
	cacheLookPause   = 5 * time.Second
	acmeTimeout      = 30 * time.Second
	expiryInterval   = time.Minute
	// challengeTimeout bounds a request to the address of HTTP-01 challenges, where the issuer and whoever else asks.
	challengeTimeout = 15 * time.Second
)

func newACME(c *config.LetsEncrypt, o Options) (*acmeCertificates, error) {
	client, err := acmeClient(c, o.UserAgent)
	if err != nil {
		return nil, err
	}
	var cache autocert.Cache = autocert.DirCache(c.CacheFile)
	if c.CacheStorage {
		cache = storeCache{o.Store}
	} else if err := checkDir(c.CacheFile); err != nil {
		return nil, err
	}
	a := &acmeCertificates{cache: cache, log: o.Log, metrics: o.Metrics, now: time.Now, state: map[string]*hostState{}}
	for _, host := range c.Hosts {
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		if a.state[host] == nil {
			a.hosts = append(a.hosts, host)
			a.state[host] = &hostState{until: a.now().Add(time.Duration(c.Delay))}
		}
	}
	a.manager = &autocert.Manager{Prompt: autocert.AcceptTOS, Cache: cache, HostPolicy: a.allowed, Client: client, Email: c.Email}
	return a, nil
}

// allowed is what autocert asks before it orders, and of requests that come with a challenge, whatever port they name.
func (a *acmeCertificates) allowed(_ context.Context, host string) error {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if !slices.Contains(a.hosts, strings.ToLower(strings.TrimSuffix(host, "."))) {
		return fmt.Errorf("%q is not among http.tls.letsencrypt.hosts", telemetry.Clip(host))
	}
	return nil
}

func acmeClient(c *config.LetsEncrypt, userAgent string) (*acme.Client, error) {
	client := &http.Client{Timeout: acmeTimeout}
	if c.CAFile != "" {
		transport, err := pemfile.Transport(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cafile: %w", err)
		}
		client.Transport = transport
	}
	return &acme.Client{DirectoryURL: c.DirectoryURL, UserAgent: userAgent, RetryBackoff: acmeBackoff, HTTPClient: client}, nil
}

// maxACMERetries bounds how often one call is made again.
const maxACMERetries = 6

// acmeBackoff says how long to wait before a call to the issuer is made again: not at all where it asked to be left
// alone, which the library would sit out with a handshake waiting.
func acmeBackoff(n int, _ *http.Request, response *http.Response) time.Duration {
	if response != nil && response.StatusCode == http.StatusTooManyRequests || n > maxACMERetries {
		return -1
	}
	return 100 * time.Millisecond << n
}

// isChallenge says that it is the issuer who asks, by TLS-ALPN-01 (RFC 8737).
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto
}

// get finds or obtains the certificate that a client asks for. Clients that name no host, or one by its address, get the
// first host's.
func (a *acmeCertificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if isChallenge(hello) {
		return a.manager.GetCertificate(hello)
	}
	if _, err := netip.ParseAddr(hello.ServerName); hello.ServerName == "" || err == nil {
		named := *hello
		named.ServerName = a.hosts[0]
		hello = &named
	}
	host := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if !slices.Contains(a.hosts, host) {
		return nil, fmt.Errorf("no certificate is obtained for %q: it is not among http.tls.letsencrypt.hosts", telemetry.Clip(host))
	}
	ctx, cancel := context.WithTimeout(context.Background(), acmeTimeout)
	defer cancel()
	if err := a.wait(ctx, host); err != nil {
		return nil, err
	}
	began := a.now()
	certificate, err := a.manager.GetCertificate(hello)
	if err != nil {
		a.failed(host, began, err)
		return nil, err
	}
	a.succeeded(host, certificate)
	return certificate, nil
}

// wait returns an error during a pause, unless somebody else has obtained the certificate meanwhile.
func (a *acmeCertificates) wait(ctx context.Context, host string) error {
	a.mu.Lock()
	s := a.state[host]
	now := a.now()
	if !now.Before(s.until) {
		a.mu.Unlock()
		return nil
	}
	look := now.Sub(s.looked) > cacheLookPause
	if look {
		s.looked = now
	}
	until := s.until
	a.mu.Unlock()
	if look {
		if _, err := a.cache.Get(ctx, host); err == nil {
			return nil
		}
	}
	a.metrics.ACMEAttempt("put_off")
	return fmt.Errorf("no certificate for %s yet; the next attempt is at %s", host, until.Format(time.RFC3339))
}

// failed begins a pause, once for all who waited for the same attempt.
func (a *acmeCertificates) failed(host string, began time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state[host]
	if s.until.After(began) {
		return
	}
	s.failures++
	pause := min(firstACMEPause<<min(s.failures-1, 10), longestACMEPause)
	result, what := "failed", "cannot obtain a certificate"
	if after, limited := rateLimit(err); limited {
		result, what = "limited", "the issuer's rate limit is reached"
		pause = max(pause, after)
	}
	s.until = a.now().Add(pause)
	a.metrics.ACMEAttempt(result)
	a.log.Error(what+"; the host is left alone for a while", "host", host, "error", err, "failures", s.failures, "next", s.until.Format(time.RFC3339))
}

// rateLimit finds out when the issuer wants to be asked again.
func rateLimit(err error) (time.Duration, bool) {
	var e *acme.Error
	if !errors.As(err, &e) {
		return 0, false
	}
	if after, limited := acme.RateLimit(e); limited {
		return after, true
	}
	return 0, e.StatusCode == http.StatusTooManyRequests
}

func (a *acmeCertificates) succeeded(host string, c *tls.Certificate) {
	leaf := c.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state[host]
	s.failures, s.until = 0, time.Time{}
	if serial := leaf.SerialNumber.String(); s.serial != serial {
		s.serial = serial
		a.metrics.ACMEAttempt("ok")
		a.metrics.CertificateExpiry(host, leaf.NotAfter)
		a.log.Info("has a certificate", "host", host, "issuer", leaf.Issuer.CommonName, "expires", leaf.NotAfter)
	}
}

// obtain obtains the certificates of all hosts without waiting for clients, and goes on looking, until the context ends.
func (a *acmeCertificates) obtain(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	for _, host := range a.hosts {
		group.Go(func() { a.obtainHost(ctx, host) })
	}
}

func (a *acmeCertificates) obtainHost(ctx context.Context, host string) {
	hello := &tls.ClientHelloInfo{ServerName: host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256}}
	for {
		// An order takes minutes at worst and cannot be called off; the end of the program does not wait for it.
		obtained := make(chan error, 1)
		go func() {
			_, err := a.get(hello)
			obtained <- err
		}()
		var err error
		select {
		case <-ctx.Done():
			return
		case err = <-obtained:
		}
		pause := expiryInterval
		if err != nil {
			a.mu.Lock()
			pause = max(a.state[host].until.Sub(a.now()), time.Second)
			a.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// serveHTTP01 answers HTTP-01 challenges (RFC 8555, 8.3) and sends everybody else to HTTPS.
func (a *acmeCertificates) serveHTTP01(ctx context.Context, addr string, group *sync.WaitGroup) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("http.tls.letsencrypt.httpaddr: %w", err)
	}
	server := &http.Server{Handler: a.manager.HTTPHandler(nil), ReadHeaderTimeout: challengeTimeout, ReadTimeout: challengeTimeout, WriteTimeout: acmeTimeout,
		IdleTimeout: acmeTimeout, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	group.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("challenges are not answered any more", "error", err)
		}
	})
	group.Go(func() {
		<-ctx.Done()
		server.Close() //nolint:errcheck // it ends with the program
	})
	return nil
}
