package testserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Pebble is a running ACME server, for which every name is at 127.0.0.1.
type Pebble struct {
	// Addr is its address; DirectoryURL is where clients begin, and CAFile what they trust it by.
	Addr, DirectoryURL, CAFile string
	// Roots are what it issues certificates under.
	Roots *x509.CertPool
	// HTTPAddr and TLSAddr are where it looks for answers to HTTP-01 and TLS-ALPN-01 challenges.
	HTTPAddr, TLSAddr string
	Process           *Process
}

// StartPebble starts an ACME server whose certificates are valid for so long.
func StartPebble(t testing.TB, validity time.Duration) *Pebble {
	t.Helper()
	dir, work := Tool(t, "pebble"), t.TempDir()
	p := &Pebble{Addr: FreeAddr(t), HTTPAddr: FreeAddr(t), TLSAddr: FreeAddr(t), CAFile: filepath.Join(work, "cert.pem")}
	p.DirectoryURL = "https://" + p.Addr + "/dir"
	management, dns := FreeAddr(t), FreeAddr(t)
	Certificate(t, work, "cert.pem", "key.pem", "127.0.0.1")
	settings := map[string]any{"pebble": map[string]any{
		"listenAddress": p.Addr, "managementListenAddress": management,
		"certificate": p.CAFile, "privateKey": filepath.Join(work, "key.pem"),
		"httpPort": Port(t, p.HTTPAddr), "tlsPort": Port(t, p.TLSAddr),
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "default", "validityPeriod": int(validity.Seconds())}},
	}}
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(work, "config.json")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	Exec(t, nil, filepath.Join(dir, "pebble-challtestsrv"), "-dnsserver", dns, "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
		"-management", FreeAddr(t))
	p.Process = Exec(t, []string{"PEBBLE_VA_NOSLEEP=1"}, filepath.Join(dir, "pebble"), "-config", config, "-dnsserver", dns)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool(t, p.CAFile), MinVersion: tls.VersionTLS12}}}
	Eventually(t, "the ACME server answers", 30*time.Second, func() bool {
		r, err := client.Get(p.DirectoryURL) //nolint:noctx // a server of ours
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	r, err := client.Get("https://" + management + "/roots/0") //nolint:noctx // a server of ours
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	root, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	p.Roots = x509.NewCertPool()
	if !p.Roots.AppendCertsFromPEM(root) {
		t.Fatalf("no root: %s", root)
	}
	return p
}

func pool(t testing.TB, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(text)
	return p
}

// Certificate writes a self-signed certificate for names and addresses, and its key, and returns a pool that trusts it.
func Certificate(t testing.TB, dir, certificateFile, keyFile string, names ...string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certificateFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool(t, filepath.Join(dir, certificateFile))
}

// Handshake returns the serial number of the certificate that is served for a name.
func (p *Pebble) Handshake(addr, name string) (string, error) {
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: p.Roots, MinVersion: tls.VersionTLS12}}
	c, err := dialer.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String(), nil //nolint:errcheck,forcetypeassert // a tls.Dialer's
}
