// Package pemfile reads certificates and keys in PEM, strictly. Go's own readers pass over every block that they cannot
// read, so that a damaged certificate in a bundle means that one CA less is trusted, and nobody learns of it. Here it is
// an error, with the block's line and never its content. A byte order mark is accepted, and so is text between blocks.
//
// The server, the client and the operator read PEM through this package.
package pemfile

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

var (
	begin = []byte("-----BEGIN ")
	end   = []byte("-----END ")
	bom   = []byte("\ufeff")
)

// block is a PEM block with the line that it begins at.
type block struct {
	*pem.Block
	line int
}

// Certificates reads the certificates of a bundle. None at all is an error. Keys beside them are passed over.
func Certificates(text []byte) ([]*x509.Certificate, error) {
	blocks, err := decode(text)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for _, b := range blocks {
		if isKey(b.Type) {
			continue
		}
		c, err := b.certificate()
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errNone(text, "certificate", "x509")
	}
	return list, nil
}

// AddFile adds the certificates of a file to a pool.
func AddFile(pool *x509.CertPool, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	list, err := Certificates(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, c := range list {
		pool.AddCert(c)
	}
	return nil
}

// Transport returns an HTTP client's transport that trusts the certificates of a file and no others.
func Transport(file string) (*http.Transport, error) {
	pool := x509.NewCertPool()
	if err := AddFile(pool, file); err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:errcheck,forcetypeassert // it is one
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

// KeyPair reads a chain of certificates and the key of the first. Both may be in one text.
func KeyPair(chain, key []byte) (tls.Certificate, error) {
	if _, err := Certificates(chain); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	blocks, err := decode(key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key: %w", err)
	}
	if len(blocks) == 0 {
		return tls.Certificate{}, fmt.Errorf("key: %w", errNone(key, "key", "pkey"))
	}
	return tls.X509KeyPair(clean(chain), clean(key))
}

// KeyPairFiles reads KeyPair from files.
func KeyPairFiles(chainFile, keyFile string) (tls.Certificate, error) {
	chain, err := os.ReadFile(chainFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s with key %s: %w", chainFile, keyFile, err)
	}
	return pair, nil
}

// decode reads every block, or says at which line one begins that cannot be read.
func decode(text []byte) ([]block, error) {
	text = clean(text)
	var blocks []block
	at := bytes.Index(text, begin)
	if at < 0 {
		at = len(text)
	}
	if stray := bytes.Index(text[:at], end); stray >= 0 {
		return nil, strayEnd(text, stray)
	}
	for at < len(text) {
		next := len(text)
		if i := bytes.Index(text[at+len(begin):], begin); i >= 0 {
			next = at + len(begin) + i
		}
		line := lineAt(text, at)
		if at > 0 && text[at-1] != '\n' {
			return nil, fmt.Errorf("line %d: -----BEGIN must stand at the beginning of the line", line)
		}
		b, rest := pem.Decode(text[at:next])
		if b == nil {
			return nil, fmt.Errorf("line %d: the PEM block that begins here is damaged", line)
		}
		if stray := bytes.Index(rest, end); stray >= 0 {
			return nil, strayEnd(text, next-len(rest)+stray)
		}
		blocks = append(blocks, block{b, line})
		at = next
	}
	return blocks, nil
}

func strayEnd(text []byte, at int) error {
	return fmt.Errorf("line %d: -----END without a -----BEGIN; a PEM block is damaged", lineAt(text, at))
}

func lineAt(text []byte, at int) int { return 1 + bytes.Count(text[:at], []byte("\n")) }

// clean removes byte order marks, which editors put at a file's beginning and cat moves to where another begins, and the
// carriage returns of Windows.
func clean(text []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(text, bom, nil), []byte("\r\n"), []byte("\n"))
}

// isKey says whether blocks of a type go with keys.
func isKey(kind string) bool {
	return strings.HasSuffix(kind, "PRIVATE KEY") || strings.HasSuffix(kind, "PARAMETERS")
}

func (b block) certificate() (*x509.Certificate, error) {
	switch b.Type {
	case "CERTIFICATE", "X509 CERTIFICATE":
	case "TRUSTED CERTIFICATE":
		return nil, fmt.Errorf("line %d: a block of type %s is not read; convert it with openssl x509", b.line, b.Type)
	default:
		return nil, fmt.Errorf("line %d: a block of type %q is no certificate", b.line, b.Type)
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("line %d: the certificate that begins here is damaged: %w", b.line, err)
	}
	return c, nil
}

// errNone says that a text holds nothing, and how to mend it where it is a file of another kind.
func errNone(text []byte, what, command string) error {
	switch {
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		return errors.New("not text in UTF-8 (UTF-16?); save it as UTF-8")
	case bytes.HasPrefix(text, []byte{0x30}) && bytes.IndexByte(text, 0) >= 0:
		return fmt.Errorf("holds no %s in PEM but perhaps one in DER; convert it with openssl %s -inform der", what, command)
	}
	return fmt.Errorf("holds no %s in PEM", what)
}
