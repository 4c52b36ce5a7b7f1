package certs

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packregistry.dev/internal/pemfile"
	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/telemetry"
)

// A CA that cannot be read is not left out in silence: the server does not start, and one that runs keeps what it has.
func TestDamagedCertificatesAreErrors(t *testing.T) {
	dir := t.TempDir()
	testserver.Certificate(t, dir, "tls.crt", "tls.key", "localhost")
	testserver.Certificate(t, dir, "a.crt", "a.key", "a")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, certificate, key := read("a.crt"), read("tls.crt"), read("tls.key")
	write("bom.crt", "\ufeff"+a+"\ufeff"+certificate)
	write("half.crt", a+certificate[:len(certificate)/2])
	write("chain.crt", certificate+a[:len(a)/2])
	write("tls-bom.crt", "\ufeff"+certificate)
	write("tls-bom.key", "\ufeff"+key)
	for _, tt := range []struct{ certificate, key, ca, want string }{
		{"tls.crt", "tls.key", "a.crt", ""},
		{"tls-bom.crt", "tls-bom.key", "bom.crt", ""},
		{"tls.crt", "tls.key", "half.crt", "half.crt: line "},
		{"chain.crt", "tls.key", "a.crt", "chain.crt"},
	} {
		c := &config.TLS{Certificate: filepath.Join(dir, tt.certificate), Key: filepath.Join(dir, tt.key), ClientCAs: []string{filepath.Join(dir, tt.ca)}}
		_, err := newCertificates(c, nil, telemetry.NewMetrics(), slog.New(slog.DiscardHandler))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s, %s: %v, want %q", tt.certificate, tt.ca, err, tt.want)
		}
	}
	if _, err := pemfile.Transport(filepath.Join(dir, "half.crt")); err == nil || !strings.Contains(err.Error(), "half.crt: line ") {
		t.Errorf("cafile: %v", err)
	}
}
