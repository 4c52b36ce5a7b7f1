package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"packregistry.dev/internal/pemfile"
	"packregistry.dev/pack"
)

// Server is where to connect to, and as whom.
type Server struct {
	// Host is host or host:port.
	Host               string
	Username, Password string
	// Insecure accepts any certificate; PlainHTTP speaks no TLS at all.
	Insecure  bool
	PlainHTTP bool
	// CAFile holds certificates of authorities to trust besides the system's.
	CAFile string
	// Dial connects, where it is not the network's usual way: through a tunnel, or another network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// certificateDirs are searched for <dir>/<host>/ca.crt.
var certificateDirs = []string{"/etc/packctl/certs.d", "/etc/spectro/certs.d"}

// ParseServer takes host, host:port, or a URL of these.
func ParseServer(s string) (host string, plainHTTP bool, err error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", false, errors.New("name the server as host or host:port, such as packs.example.com:443")
	}
	return u.Host, u.Scheme == "http", nil
}

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

// forceKey marks the context of a push that replaces.
type forceKey struct{}

// door sends the requests for packs through /v1 where the registry has that door.
type door struct {
	next http.RoundTripper

	mu sync.Mutex
	// packs says whether the registry is a pack registry; known, whether that was found out.
	packs, known bool
}

func newDoor(s Server) (*door, error) {
	c, err := tlsConfig(s)
	if err != nil {
		return nil, err
	}
	return &door{next: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           s.Dial,
		TLSClientConfig:       c,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 10 * time.Minute, // committing a large archive may take a while
		IdleConnTimeout:       time.Minute,
	}}, nil
}

const v2Packs = "/v2/" + pack.ArchivePrefix

// RoundTrip implements http.RoundTripper. Only the push of a manifest depends on the door, so the others stay as they
// are; by then the registry has answered often enough to be known.
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	rest, isPack := strings.CutPrefix(r.URL.Path, v2Packs)
	if isPack && r.Method == http.MethodPut && strings.Contains(rest, "/manifests/") && d.isPackRegistry() {
		r = r.Clone(r.Context())
		r.URL.Path = "/v1/" + rest
		if r.Context().Value(forceKey{}) != nil {
			r.Header.Set("Packregistry-Force", "true")
		}
	}
	response, err := d.next.RoundTrip(r)
	if err == nil {
		d.learn(response)
	}
	return response, err
}

func (d *door) learn(response *http.Response) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.known {
		d.packs, d.known = response.Header.Get("Packregistry-Version") != "", true
	}
}

func (d *door) isPackRegistry() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.packs
}
