package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"packregistry.dev/internal/pemfile"
	"packregistry.dev/pack"
)

// certificateDirs are searched for <dir>/<host>/ca.crt.
var certificateDirs = []string{"/etc/packctl/certs.d", "/etc/spectro/certs.d"}

func tlsConfig(s Server) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.Insecure} //nolint:gosec // on request only
	files := []string{}
	if s.CAFile != "" {
		files = append(files, s.CAFile)
	}
	for _, dir := range certificateDirs {
		file := filepath.Join(dir, s.Host, "ca.crt")
		if _, err := os.Stat(file); err == nil {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return c, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, file := range files {
		err := pemfile.AddFile(roots, file)
		if errors.Is(err, fs.ErrPermission) && file != s.CAFile {
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	c.RootCAs = roots
	return c, nil
}

// newTransport connects within the server's limits.
func newTransport(s Server) (http.RoundTripper, error) {
	c, err := tlsConfig(s)
	if err != nil {
		return nil, err
	}
	limit := orDefault(s.ConnectTimeout, connectTimeout)
	dial := s.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return newWatchdog(orDefault(s.StallTimeout, stallTimeout), orDefault(s.AnswerTimeout, answerTimeout), &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			timed, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			conn, err := dial(timed, network, address)
			if err != nil && ctx.Err() == nil && timed.Err() != nil {
				return nil, &timeoutError{fmt.Sprintf("%s does not answer: no connection within %s; check the name, the port, and what firewalls lie between", address, limit)}
			}
			return conn, err
		},
		TLSClientConfig:     c,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: limit,
		IdleConnTimeout:     time.Minute,
		MaxIdleConnsPerHost: 16,
	}), nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// schemes lets a server that is named without a scheme be one that speaks HTTP, where that is allowed: HTTPS is tried
// first, and whoever answers it in plain text is spoken to so from then on.
type schemes struct {
	next  http.RoundTripper
	plain atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (t *schemes) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return t.next.RoundTrip(r)
	}
	if !t.plain.Load() {
		response, err := t.next.RoundTrip(r)
		if err == nil || !answeredInPlain(err) || r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
			return response, err
		}
		t.plain.Store(true)
	}
	asked := r
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		r.Body = body
	}
	response, err := t.next.RoundTrip(r)
	if response != nil {
		response.Request = asked // else it would look like a redirect to another scheme, which is given no password
	}
	return response, err
}

// answeredInPlain: net/http's Client makes an http.ErrSchemeMismatch of this, above a RoundTripper.
func answeredInPlain(err error) bool {
	var header tls.RecordHeaderError
	return errors.As(err, &header) && string(header.RecordHeader[:]) == "HTTP/"
}

// forceKey marks the context of a push that replaces, and packAPIKey that of a request that has an answer at /v1 only.
type (
	forceKey   struct{}
	packAPIKey struct{}
)

// packAPI sends requests for packs to /v1 where the registry has that API.
type packAPI struct {
	next http.RoundTripper

	// packs says that an answer showed that the registry is a pack registry.
	packs atomic.Bool
}

const v2Packs = "/v2/" + pack.ArchivePrefix

// RoundTrip implements http.RoundTripper. Only the push of a manifest depends on the API, so the others stay as they
// are unless they say so; by then the registry has answered often enough to be known.
func (p *packAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	rest, isPack := strings.CutPrefix(r.URL.Path, v2Packs)
	push := r.Method == http.MethodPut && strings.Contains(rest, "/manifests/")
	if isPack && (push || r.Context().Value(packAPIKey{}) != nil) && p.packs.Load() {
		r = r.Clone(r.Context())
		r.URL.Path = "/v1/" + rest
		if r.Context().Value(forceKey{}) != nil {
			r.Header.Set("Packregistry-Force", "true")
		}
	}
	response, err := p.next.RoundTrip(r)
	if err == nil {
		p.learn(response)
	}
	return response, err
}

// learn notes what an answer shows. One without the header shows nothing: a proxy may have given it while the registry was away.
func (p *packAPI) learn(response *http.Response) {
	if path := response.Request.URL.Path; !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/v2/") {
		return // of the storage that a registry sent the client on to, or of a service for tokens
	}
	if response.Header.Get("Packregistry-Version") != "" {
		p.packs.Store(true)
	}
}
