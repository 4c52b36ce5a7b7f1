package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/client"
	"packregistry.dev/internal/testregistry"
)

// selfSigned makes a certificate, and the file that trusts it.
func selfSigned(t *testing.T, c x509.Certificate) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.IsCA, c.BasicConstraintsValid, c.NotBefore = big.NewInt(1), true, true, time.Now().Add(-48*time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	raw, err := x509.CreateCertificate(rand.Reader, &c, &c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, file
}

func TestErrorsOfConnectionsSayWhatToDo(t *testing.T) {
	t.Parallel()
	serve := func(c x509.Certificate) client.Server {
		certificate, ca := selfSigned(t, c)
		s := newRegistry(t, func(h *httptest.Server) { h.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}} })
		s.CAFile = ca
		return s
	}
	unknown := newRegistry(t)
	unknown.CAFile = ""
	plainToTLS := newRegistry(t)
	plainToTLS.PlainHTTP = true
	named := serve(x509.Certificate{DNSNames: []string{"packs.example.com"}})
	expired := serve(x509.Certificate{DNSNames: []string{"packs.example.com"}, NotAfter: time.Now().Add(-time.Hour)})
	commonName := serve(x509.Certificate{Subject: pkix.Name{CommonName: "127.0.0.1"}})
	nothing := httptest.NewServer(nil)
	nothing.Close()
	for name, tt := range map[string]struct {
		server client.Server
		words  []string
	}{
		"unknown CA":       {unknown, []string{"x509: certificate signed by unknown authority", "--ca-file", "/etc/packctl/certs.d/" + unknown.Host + "/ca.crt", "-i"}},
		"another name":     {named, []string{"x509", "127.0.0.1", "a name that the certificate holds"}},
		"expired":          {expired, []string{"expired", "renew"}},
		"Common Name only": {commonName, []string{"Subject Alternative Names", "openssl req -x509", "subjectAltName=IP:127.0.0.1"}},
		"HTTP to HTTPS":    {plainToTLS, []string{"speaks HTTPS; name it without http://"}},
		"nothing there":    {client.Server{Host: strings.TrimPrefix(nothing.URL, "http://")}, []string{"connection refused", "check the name and the port"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := openPack(t, nil)
			c := connect(t, tt.server)
			_, push := c.Push(t.Context(), d, client.Push{})
			_, list := c.List(t.Context(), "")
			_, pull := c.Pull(t.Context(), "demo", "1.0.0", t.TempDir())
			for _, err := range []error{c.Ping(t.Context()), push, list, pull} {
				for _, words := range tt.words {
					if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(words)) {
						t.Errorf("%v: lacks %q", err, words)
					}
				}
				if err != nil && strings.Count(err.Error(), tt.server.Host+":") > 1 {
					t.Errorf("%v: names the server twice", err)
				}
			}
		})
	}
}

func TestKindsOfErrors(t *testing.T) {
	t.Parallel()
	s := newRegistryWith(t, testregistry.Options{Access: "{readonlyusers: [ann]}"})
	d, _ := openPack(t, nil)
	writable := newRegistry(t)
	if _, err := connect(t, writable).Push(t.Context(), d, client.Push{}); err != nil {
		t.Fatal(err)
	}
	wrong, nobody := writable, writable
	wrong.Password = "wrong"
	nobody.Username, nobody.Password = "", ""
	changed, _ := openPack(t, map[string]string{"README.md": "changed"})
	push := func(s client.Server) error {
		_, err := connect(t, s).Push(t.Context(), changed, client.Push{})
		return err
	}
	pull := func(s client.Server, name, reference string) error {
		_, err := connect(t, s).Pull(t.Context(), name, reference, t.TempDir())
		return err
	}
	_, list := connect(t, s).List(t.Context(), "none")
	_, parent := connect(t, writable).Delete(t.Context(), "demo", "1.x")
	_, alias := connect(t, writable).Tag(t.Context(), "demo", "1.0.0", "2.0.0", false)
	for name, tt := range map[string]struct {
		err, kind error
		words     string
	}{
		"a user who may only pull": {push(s), client.ErrDenied, "user ann lacks the right to push to demo"},
		"wrong password":           {push(wrong), client.ErrDenied, "does not take the password of user ann"},
		"not logged in":            {pull(nobody, "demo", "1.0.0"), client.ErrDenied, "packctl registry login " + writable.Host},
		"it exists":                {push(writable), client.ErrRefused, "exists already"},
		"no such pack":             {pull(writable, "none", "1.0.0"), client.ErrNotFound, "there is no pack none"},
		"no such pack, listed":     {list, client.ErrNotFound, "there is no pack none"},
		"no such version":          {pull(writable, "demo", "2.0.0"), client.ErrNotFound, "there is no demo:2.0.0; the newest there are: 1.0.0"},
		"no such parent":           {pull(writable, "demo", "2.x"), client.ErrNotFound, "there is no demo:2.x"},
		"a parent tag":             {parent, client.ErrRefused, "stands for the newest version below it"},
		"another version's tag":    {alias, client.ErrRefused, "2.0.0"},
	} {
		if !errors.Is(tt.err, tt.kind) || !strings.Contains(tt.err.Error(), tt.words) || strings.Contains(tt.err.Error(), "secret") {
			t.Errorf("%s: %v", name, tt.err)
		}
	}
	if !errors.Is(push(writable), client.ErrExists) {
		t.Error("that it exists is not ErrExists")
	}
}

func TestAServerThatIsNoRegistry(t *testing.T) {
	t.Parallel()
	h := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(h.Close)
	s := client.Server{Host: strings.TrimPrefix(h.URL, "http://"), PlainHTTP: true}
	_, list := connect(t, s).List(t.Context(), "")
	_, pull := connect(t, s).Pull(t.Context(), "demo", "1.0.0", t.TempDir())
	for _, err := range []error{list, pull} {
		if err == nil || !strings.Contains(err.Error(), "answers, but not as a registry") {
			t.Errorf("%v", err)
		}
	}
}

func TestParentTagsResolve(t *testing.T) {
	t.Parallel()
	c := connect(t, newRegistry(t))
	d, _ := openPack(t, nil)
	pushed, err := c.Push(t.Context(), d, client.Push{})
	if err != nil {
		t.Fatal(err)
	}
	for _, reference := range []string{"1.x", "1.0.x", ""} {
		pulled, err := c.Pull(t.Context(), "demo", reference, t.TempDir())
		if err != nil || pulled.Digest != pushed.Digest || pulled.Tag != "1.0.0" {
			t.Errorf("%q: %+v, %v", reference, pulled, err)
		}
	}
	if got, err := c.Tag(t.Context(), "demo", "1.x", "stable", false); err != nil || got != pushed.Digest {
		t.Errorf("%s, %v", got, err)
	}
	plan, err := c.PlanDeletion(t.Context(), "demo", "1.0.0")
	if err != nil || plan.Digest != pushed.Digest || strings.Join(plan.Tags, " ") != "1.0.0 stable" {
		t.Errorf("%+v, %v", plan, err)
	}
}
