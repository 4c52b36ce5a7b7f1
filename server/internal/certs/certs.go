// Package certs is the server's side of TLS: which certificate it shows, and which ones it asks clients for.
//
// A certificate comes from a pair of files, or from an ACME server (RFC 8555), which may be Let's Encrypt. Files are read again
// when they change, so that whoever renews them restarts nothing; what cannot be used leaves the last good state in place.
// Connections that stand are left alone.
//
//	certs.go   the TLS configuration, and the files
//	acme.go    obtaining certificates: golang.org/x/crypto/acme/autocert, with patience after failures
//	cache.go   where obtained certificates are kept: a directory, or the registry's storage
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"packregistry.dev/internal/pemfile"
	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/internal/watch"
	"packregistry.dev/server/store"
)

// Options say what to serve.
type Options struct {
	TLS *config.TLS
	// HTTP2 offers HTTP/2, unless the cipher suites exclude it.
	HTTP2 bool
	// Store keeps the certificates that an ACME server issues, where the configuration says so.
	Store *store.Store
	// UserAgent is sent to the ACME server.
	UserAgent string
	Metrics   *telemetry.Metrics
	Log       *slog.Logger
}

// Start returns the TLS configuration of a server, and keeps what it serves up to date until the context ends. What runs for
// that is in group.
func Start(ctx context.Context, group *sync.WaitGroup, o Options) (*tls.Config, error) {
	obtained, err := startACME(ctx, group, o)
	if err != nil {
		return nil, fmt.Errorf("http.tls.letsencrypt: %w", err)
	}
	c, err := newCertificates(o.TLS, obtained, o.Metrics, o.Log)
	if err != nil {
		return nil, err
	}
	if o.HTTP2 && !suitHTTP2(o.TLS) {
		o.Log.Warn("HTTP/2 is not served: it asks for TLS_ECDHE_…_WITH_AES_128_GCM_SHA256 among http.tls.ciphersuites (RFC 9113, 9.2.2)")
		o.HTTP2 = false
	}
	group.Go(func() { c.watch(ctx, watch.Interval) })
	return c.config(!o.HTTP2), nil
}

// startACME begins to obtain certificates, if the configuration says so.
func startACME(ctx context.Context, group *sync.WaitGroup, o Options) (*acmeCertificates, error) {
	c := o.TLS.LetsEncrypt
	if c == nil {
		return nil, nil
	}
	obtained, err := newACME(c, o)
	if err != nil {
		return nil, err
	}
	if c.HTTPAddr != "" {
		if err := obtained.serveHTTP01(ctx, c.HTTPAddr, group); err != nil {
			return nil, err
		}
	}
	group.Go(func() { obtained.obtain(ctx) })
	return obtained, nil
}

// certificates are what the files hold now, or what an ACME server issued.
type certificates struct {
	c       *config.TLS
	files   *watch.Files
	acme    *acmeCertificates
	metrics *telemetry.Metrics
	log     *slog.Logger
	current atomic.Pointer[material]
}

// material is what one reading of the files yielded.
type material struct {
	certificate tls.Certificate
	clientCAs   *x509.CertPool
}

func newCertificates(c *config.TLS, a *acmeCertificates, m *telemetry.Metrics, log *slog.Logger) (*certificates, error) {
	paths := append([]string(nil), c.ClientCAs...)
	if a == nil {
		paths = append(paths, c.Certificate, c.Key)
	}
	s := &certificates{c: c, acme: a, metrics: m, log: log, files: watch.New(paths...)}
	first, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	s.use(first)
	if leaf := first.certificate.Leaf; leaf != nil && time.Now().After(leaf.NotAfter) {
		log.Warn("the certificate has expired", "expired", leaf.NotAfter)
	}
	return s, nil
}

func (s *certificates) use(m *material) {
	s.current.Store(m)
	if m.certificate.Leaf != nil {
		// The name may have changed with the certificate; there is one at a time.
		s.metrics.OnlyCertificateExpiry(firstName(m.certificate.Leaf), m.certificate.Leaf.NotAfter)
	}
}

func firstName(leaf *x509.Certificate) string {
	if len(leaf.DNSNames) > 0 {
		return leaf.DNSNames[0]
	}
	return leaf.Subject.CommonName
}

func (s *certificates) read() (*material, error) {
	m := &material{}
	if s.acme == nil {
		pair, err := pemfile.KeyPairFiles(s.c.Certificate, s.c.Key)
		if err != nil {
			return nil, err
		}
		m.certificate = pair
	}
	if len(s.c.ClientCAs) == 0 {
		return m, nil
	}
	m.clientCAs = x509.NewCertPool()
	for _, file := range s.c.ClientCAs {
		if err := pemfile.AddFile(m.clientCAs, file); err != nil {
			return nil, fmt.Errorf("clientcas: %w", err)
		}
	}
	return m, nil
}

func (s *certificates) watch(ctx context.Context, interval time.Duration) {
	s.files.Run(ctx, interval, func() {
		m, err := s.read()
		s.metrics.Reload("certificate", err)
		if err != nil {
			s.log.Error("cannot use the changed certificate; the last good one stays", "error", err)
			return
		}
		s.use(m)
		if leaf := m.certificate.Leaf; leaf != nil {
			s.log.Info("read the certificate again", "subject", leaf.Subject.String(), "names", leaf.DNSNames, "expires", leaf.NotAfter)
			return
		}
		s.log.Info("read the client authorities again")
	})
}

var tlsVersions = map[string]uint16{
	"tls1.0": tls.VersionTLS10, "tls1.1": tls.VersionTLS11, "tls1.2": tls.VersionTLS12, "tls1.3": tls.VersionTLS13,
}

var clientAuthTypes = map[string]tls.ClientAuthType{
	"request-client-cert":            tls.RequestClientCert,
	"require-any-client-cert":        tls.RequireAnyClientCert,
	"verify-client-cert-if-given":    tls.VerifyClientCertIfGiven,
	"require-and-verify-client-cert": tls.RequireAndVerifyClientCert,
}

func (s *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.acme != nil {
		return s.acme.get(hello)
	}
	return &s.current.Load().certificate, nil
}

func (s *certificates) config(withoutHTTP2 bool) *tls.Config {
	base := &tls.Config{
		MinVersion:     tlsVersions[s.c.MinimumTLS],
		CipherSuites:   cipherSuites(s.c.CipherSuites),
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: s.get,
	}
	if withoutHTTP2 {
		base.NextProtos = []string{"http/1.1"}
	}
	if s.acme != nil {
		base.NextProtos = append(base.NextProtos, acme.ALPNProto)
	}
	if len(s.c.ClientCAs) == 0 {
		return base
	}
	outer := base.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if s.acme != nil && isChallenge(hello) {
			return base, nil // the issuer shows no certificate
		}
		c := base.Clone()
		c.ClientAuth = clientAuthTypes[s.c.ClientAuth]
		c.ClientCAs = s.current.Load().clientCAs
		return c, nil
	}
	return outer
}

func cipherSuites(names []string) []uint16 {
	var ids []uint16
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		for _, name := range names {
			if suite.Name == name {
				ids = append(ids, suite.ID)
			}
		}
	}
	return ids
}

// suitHTTP2 says whether HTTP/2 can be spoken with the suites that are allowed.
func suitHTTP2(c *config.TLS) bool {
	return len(c.CipherSuites) == 0 || c.MinimumTLS == "tls1.3" ||
		slices.Contains(c.CipherSuites, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256") || slices.Contains(c.CipherSuites, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
}
