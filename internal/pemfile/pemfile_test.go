package pemfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/pemfile"
	"packregistry.dev/internal/testfuzz"
)

// pair makes a certificate and its key, in PEM.
func pair(t testing.TB, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func der(text string) []byte {
	b, _ := pem.Decode([]byte(text))
	return b.Bytes
}

func TestBundlesThatAreWhole(t *testing.T) {
	a, keyA := pair(t, "a")
	b, _ := pair(t, "b")
	for name, text := range map[string]string{
		"two":                   a + b,
		"no newline at the end": a + strings.TrimSpace(b),
		"text between them":     "Certificate:\n  Issuer: a\n" + a + "\n# and b\n" + b + "the end\n",
		"a byte order mark":     "\ufeff" + a + b,
		"two byte order marks":  "\ufeff" + a + "\ufeff" + b,
		"Windows' line ends":    strings.ReplaceAll(a+b, "\n", "\r\n"),
		"a key beside them":     keyA + a + b,
		"an older type":         a + block("X509 CERTIFICATE", der(b)),
	} {
		list, err := pemfile.Certificates([]byte(text))
		if err != nil || len(list) != 2 || list[0].Subject.CommonName != "a" || list[1].Subject.CommonName != "b" {
			t.Errorf("%s: %d certificates, %v", name, len(list), err)
		}
	}
}

// Whatever is wrong with a block, the bundle is refused and the line named.
func TestBundlesWithADamagedBlock(t *testing.T) {
	a, keyA := pair(t, "a")
	b, _ := pair(t, "b")
	lines := strings.SplitAfter(a, "\n")
	second := 1 + strings.Count(a, "\n")
	for _, tt := range []struct {
		name, text, want string
		line             int
	}{
		{"cut short", a + b[:len(b)/2], "damaged", second},
		{"cut short before another", a[:len(a)/2] + "\n" + b, "damaged", 1},
		{"four dashes at the end of BEGIN", strings.Replace(a, "CERTIFICATE-----", "CERTIFICATE----", 1) + b, "damaged", 1},
		{"four dashes before BEGIN", b + a[1:], "-----END without", second + strings.Count(a, "\n") - 1},
		{"END of another type", strings.Replace(a, "END CERTIFICATE", "END CERTIFICAT", 1) + b, "damaged", 1},
		{"a foreign character", strings.Replace(a, lines[1], "*"+lines[1][1:], 1) + b, "damaged", 1},
		{"a line missing", b + strings.Replace(a, lines[1], "", 1), "damaged", second},
		{"indented", "  " + a + b, "beginning of the line", 1},
		{"not a certificate", a + block("CERTIFICATE", []byte("hello")), "damaged", second},
		{"a trusted certificate", a + block("TRUSTED CERTIFICATE", der(b)), "openssl x509", second},
		{"a revocation list", a + block("X509 CRL", der(b)), "no certificate", second},
	} {
		_, err := pemfile.Certificates([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), fmt.Sprintf("line %d:", tt.line)) {
			t.Errorf("%s: %v, want line %d with %q", tt.name, err, tt.line, tt.want)
		}
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":      {"", "no certificate"},
		"a key only": {keyA, "no certificate"},
		"DER":        {string(der(a)), "-inform der"},
		"UTF-16":     {"\xff\xfe-\x00-\x00", "UTF-8"},
	} {
		if _, err := pemfile.Certificates([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestKeyPairs(t *testing.T) {
	a, keyA := pair(t, "a")
	b, keyB := pair(t, "b")
	for _, tt := range []struct{ name, chain, key, want string }{
		{"a pair", a + b, keyA, ""},
		{"in one file", keyA + a, keyA + a, ""},
		{"byte order marks", "\ufeff" + a, "\ufeff" + keyA, ""},
		{"parameters before the key", a, block("EC PARAMETERS", []byte{6, 8}) + keyA, ""},
		{"another's key", a, keyB, "private key does not match"},
		{"a damaged intermediate", a + b[:len(b)/2], keyA, "certificate: line"},
		{"an intermediate that is none", a + block("CERTIFICATE", []byte("x")), keyA, "certificate: line"},
		{"a damaged key", a, keyA[:len(keyA)/2], "key: line 1"},
		{"no key", a, "\n", "key: holds no key"},
		{"no certificate", "\n", keyA, "certificate: holds no certificate"},
	} {
		got, err := pemfile.KeyPair([]byte(tt.chain), []byte(tt.key))
		if tt.want == "" && (err != nil || got.Leaf == nil || got.Leaf.Subject.CommonName != "a") || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), strings.Split(keyA, "\n")[1]) {
			t.Errorf("%s: the error shows the key", tt.name)
		}
	}
}

func TestFilesAreNamed(t *testing.T) {
	a, key := pair(t, "a")
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(file, []byte(a+a[:len(a)/2]), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := pemfile.AddFile(x509.NewCertPool(), file); err == nil || !strings.Contains(err.Error(), file+": line") {
		t.Errorf("a bundle: %v", err)
	}
	keyFile := filepath.Join(dir, "tls.key")
	if err := os.WriteFile(keyFile, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pemfile.KeyPairFiles(file, keyFile); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a pair: %v", err)
	}
	if _, err := pemfile.KeyPairFiles(filepath.Join(dir, "none"), keyFile); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

// Of a text that is accepted no certificate is passed over: there are as many as BEGIN lines of certificates.
func FuzzCertificates(f *testing.F) {
	a, key := pair(f, "a")
	f.Add([]byte(a + a))
	f.Add([]byte(key + "\ufeff" + a))
	f.Add([]byte(strings.Repeat("-----BEGIN CERTIFICATE-----\n", 1000)))
	f.Add([]byte(strings.Repeat("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", 1000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		testfuzz.Proportionate(t, len(text), func() {
			pemfile.Certificates(text) //nolint:errcheck // whatever it says
		})
		list, err := pemfile.Certificates(text)
		if err != nil {
			return
		}
		text = bytes.ReplaceAll(text, []byte("\ufeff"), nil)
		if n := bytes.Count(text, []byte("-----BEGIN CERTIFICATE-----")) + bytes.Count(text, []byte("-----BEGIN X509 CERTIFICATE-----")); len(list) != n {
			t.Errorf("%d certificates of %d blocks", len(list), n)
		}
	})
}
