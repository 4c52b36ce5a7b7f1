package server

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	roots := testserver.Certificate(t, dir, "tls.crt", "tls.key", "localhost")
	testserver.Certificate(t, dir, "client.crt", "client.key", "a client")
	testserver.Certificate(t, dir, "stranger.crt", "stranger.key", "a stranger")
	pairs := map[string][]tls.Certificate{"none": nil}
	for _, name := range []string{"client", "stranger"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		pairs[name] = []tls.Certificate{pair}
	}
	for _, tt := range []struct {
		settings string
		may      string // who comes in
	}{
		{"", "none client stranger"},
		{"clientcas: %[1]s/client.crt", "client"}, // a string, as in the documents
		{"clientcas: [%[1]s/tls.crt, %[1]s/client.crt]", "client"},
		{"clientcas: %[1]s/client.crt, clientauth: verify-client-cert-if-given", "none client"},
		{"clientcas: %[1]s/client.crt, clientauth: require-any-client-cert", "client stranger"},
		{"clientcas: %[1]s/client.crt, clientauth: request-client-cert", "none client stranger"},
	} {
		t.Run(tt.settings, func(t *testing.T) {
			more := ""
			if tt.settings != "" {
				more = ", " + fmt.Sprintf(tt.settings, dir)
			}
			addr, _, _ := run(t, fmt.Sprintf("http: {addr: 'localhost:0', tls: {certificate: %[1]s/tls.crt, key: %[1]s/tls.key%[2]s}}\n", dir, more))
			for who, pair := range pairs {
				shown := &tls.Certificate{}
				if pair != nil {
					shown = &pair[0] // also where the server asks for one of another authority
				}
				transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12,
					GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil }}}
				r, err := (&http.Client{Transport: transport}).Get("https://" + addr + "/health") //nolint:noctx // a server of ours
				if err == nil {
					r.Body.Close()
				}
				transport.CloseIdleConnections()
				if (err == nil) != strings.Contains(tt.may, who) {
					t.Errorf("%s: %v", who, err)
				}
			}
		})
	}
}

func TestMinimumTLS(t *testing.T) {
	dir := t.TempDir()
	testserver.Certificate(t, dir, "tls.crt", "tls.key", "localhost")
	for settings, oldest := range map[string]uint16{
		"":                       tls.VersionTLS12,
		"minimumtls: tls1.0":     tls.VersionTLS12, // raised
		"minimumtls: tls1.3":     tls.VersionTLS13,
		"minimumtls: \"tls1.2\"": tls.VersionTLS12,
		"minimumtls: tls1.1, allowobsolete: true": tls.VersionTLS11,
		"minimumtls: tls1.0, allowobsolete: true": tls.VersionTLS10,
	} {
		t.Run(settings, func(t *testing.T) {
			addr, _, _ := run(t, fmt.Sprintf("http: {addr: 'localhost:0', tls: {certificate: %[1]s/tls.crt, key: %[1]s/tls.key, %[2]s}}\n", dir, settings))
			for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
				c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}) //nolint:gosec // what is tried
				if err == nil {
					c.Close()
				}
				if (err == nil) != (version >= oldest) {
					t.Errorf("%s: %v", tls.VersionName(version), err)
				}
			}
		})
	}
}

func TestCipherSuites(t *testing.T) {
	dir := t.TempDir()
	testserver.Certificate(t, dir, "tls.crt", "tls.key", "localhost")
	addr, _, _ := run(t, fmt.Sprintf("http: {addr: 'localhost:0', tls: {certificate: %[1]s/tls.crt, key: %[1]s/tls.key, ciphersuites: TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}}\n", dir))
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}) //nolint:gosec // what is tried
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := tls.CipherSuiteName(c.ConnectionState().CipherSuite); got != "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" {
		t.Errorf("negotiated %s", got)
	}
}

// Kubernetes updates a mounted Secret by swapping a symbolic link above the files. A download that is under way goes on.
func TestCertificateBehindSwappedLinks(t *testing.T) {
	dir := t.TempDir()
	write := func(version string) {
		folder := filepath.Join(dir, "..version_"+version)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		testserver.Certificate(t, folder, "tls.crt", "tls.key", "localhost", version+".example.com")
		if err := os.Symlink(folder, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	for _, file := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", file), filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	addr, _, _ := run(t, fmt.Sprintf("http: {addr: 'localhost:0', tls: {certificate: %[1]s/tls.crt, key: %[1]s/tls.key}}\n", dir))
	dialTLS := func() *tls.Conn {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // looked at below
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	names := func(c *tls.Conn) string { return strings.Join(c.ConnectionState().PeerCertificates[0].DNSNames, " ") }
	standing := dialTLS()
	if got := names(standing); !strings.Contains(got, "one.example.com") {
		t.Fatalf("serves %s", got)
	}
	if _, err := io.WriteString(standing, "GET /health HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	write("two")
	testserver.Eventually(t, "the new certificate is served", 10*time.Second, func() bool { return strings.Contains(names(dialTLS()), "two.example.com") })
	if _, err := io.WriteString(standing, "\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 15)
	if _, err := io.ReadFull(standing, answer); err != nil || string(answer) != "HTTP/1.1 200 OK" {
		t.Errorf("the request under way: %q, %v", answer, err)
	}
}

func TestHTTP2(t *testing.T) {
	dir := t.TempDir()
	roots := testserver.Certificate(t, dir, "tls.crt", "tls.key", "localhost")
	for disabled, want := range map[bool]string{false: "HTTP/2.0", true: "HTTP/1.1"} {
		addr, _, _ := run(t, fmt.Sprintf("http: {addr: 'localhost:0', http2: {disabled: %v}, tls: {certificate: %[2]s/tls.crt, key: %[2]s/tls.key}}\n", disabled, dir))
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
		client := &http.Client{Transport: transport}
		r, err := client.Get("https://localhost:" + port + "/v2/") //nolint:noctx // a server of ours
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.Proto != want {
			t.Errorf("disabled %v: %s", disabled, r.Proto)
		}
		// Uploads work over it, deadlines and all.
		r, err = client.Post("https://localhost:"+port+"/v2/r/blobs/uploads/", "", nil) //nolint:noctx // a server of ours
		if err != nil || r.StatusCode != http.StatusAccepted {
			t.Errorf("%v, %v", r, err)
		}
		r.Body.Close()
		transport.CloseIdleConnections()
	}
}
