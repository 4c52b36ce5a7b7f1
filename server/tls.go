package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/watch"
)

// certificates serves a pair of files, and reads it again when it changes; connections that stand are left alone. A
// pair that cannot be used leaves the last good one in place.
type certificates struct {
	c       *config.TLS
	files   *watch.Files
	log     *slog.Logger
	current atomic.Pointer[material]
}

// material is what one reading of the files yielded.
type material struct {
	certificate tls.Certificate
	clientCAs   *x509.CertPool
}

func newCertificates(c *config.TLS, log *slog.Logger) (*certificates, error) {
	s := &certificates{c: c, log: log, files: watch.New(append([]string{c.Certificate, c.Key}, c.ClientCAs...)...)}
	m, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	s.current.Store(m)
	return s, nil
}

func (s *certificates) read() (*material, error) {
	pair, err := tls.LoadX509KeyPair(s.c.Certificate, s.c.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", s.c.Certificate, s.c.Key, err)
	}
	m := &material{certificate: pair}
	if len(s.c.ClientCAs) == 0 {
		return m, nil
	}
	m.clientCAs = x509.NewCertPool()
	for _, file := range s.c.ClientCAs {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("clientcas: %w", err)
		}
		if !m.clientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("clientcas: %s holds no PEM certificate", file)
		}
	}
	return m, nil
}

func (s *certificates) watch(ctx context.Context, interval time.Duration) {
	s.files.Run(ctx, interval, func() {
		m, err := s.read()
		if err != nil {
			s.log.Error("cannot use the changed certificate; the last good one stays", "error", err)
			return
		}
		s.current.Store(m)
		s.log.Info("read the certificate again", "subject", m.certificate.Leaf.Subject.String(),
			"names", m.certificate.Leaf.DNSNames, "expires", m.certificate.Leaf.NotAfter)
	})
}

var tlsVersions = map[string]uint16{"tls1.2": tls.VersionTLS12, "tls1.3": tls.VersionTLS13}

var clientAuthTypes = map[string]tls.ClientAuthType{
	"request-client-cert":            tls.RequestClientCert,
	"require-any-client-cert":        tls.RequireAnyClientCert,
	"verify-client-cert-if-given":    tls.VerifyClientCertIfGiven,
	"require-and-verify-client-cert": tls.RequireAndVerifyClientCert,
}

func (s *certificates) config(withoutHTTP2 bool) *tls.Config {
	base := &tls.Config{
		MinVersion:   tlsVersions[s.c.MinimumTLS],
		CipherSuites: cipherSuites(s.c.CipherSuites),
		ClientAuth:   clientAuthTypes[s.c.ClientAuth],
		NextProtos:   []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &s.current.Load().certificate, nil
		},
	}
	if withoutHTTP2 {
		base.NextProtos = []string{"http/1.1"}
	}
	if len(s.c.ClientCAs) == 0 {
		return base
	}
	outer := base.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
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
