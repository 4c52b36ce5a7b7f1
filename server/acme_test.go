package server

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

func acmeConfig(p *testserver.Pebble, storage, addr, more string) string {
	return fmt.Sprintf(`
version: 0.1
storage: %s
http:
  addr: %s
  draintimeout: 1ms
  tls:
    letsencrypt: {email: admin@example.com, hosts: [packs.example.com, mirror.example.com], directoryurl: %q, cafile: %s, %s}
`, storage, addr, p.DirectoryURL, p.CAFile, more)
}

func waitForFiles(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		testserver.Eventually(t, path+" is there", time.Minute, func() bool {
			_, err := os.Stat(path)
			return err == nil
		})
	}
}

// orders counts what the issuer was asked for.
func orders(p *testserver.Pebble) int { return strings.Count(p.Process.Output.String(), "order") }

func TestLetsEncrypt(t *testing.T) {
	p := testserver.StartPebble(t, 90*24*time.Hour)
	for name, tt := range map[string]struct{ addr, more string }{
		"TLS-ALPN-01": {p.TLSAddr, ""},
		"HTTP-01":     {testserver.FreeAddr(t), "httpaddr: " + p.HTTPAddr},
	} {
		t.Run(name, func(t *testing.T) {
			cache := filepath.Join(t.TempDir(), "le-cache")
			text := acmeConfig(p, "inmemory", tt.addr, strings.Trim("cachefile: "+cache+", "+tt.more, ", "))
			_, log, stop := runConfig(t, text)
			serials := map[string]string{}
			for _, host := range []string{"packs.example.com", "mirror.example.com"} {
				testserver.Eventually(t, "a certificate for "+host, time.Minute, func() bool {
					var err error
					serials[host], err = p.Handshake(tt.addr, host)
					return err == nil
				})
			}
			// Nobody can make the registry order a certificate for another name.
			before := orders(p)
			if _, err := p.Handshake(tt.addr, "evil.example.com"); err == nil {
				t.Error("a handshake for an unknown host went through")
			}
			if orders(p) != before {
				t.Error("a certificate was ordered for an unknown host")
			}
			// Whoever names no host gets the first one's.
			c, err := tls.Dial("tcp", tt.addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // looked at below
			if err != nil {
				t.Fatal(err)
			}
			if leaf := c.ConnectionState().PeerCertificates[0]; leaf.DNSNames[0] != "packs.example.com" {
				t.Errorf("without a name: %v", leaf.DNSNames)
			}
			c.Close()
			if !log.says("has a certificate") {
				t.Errorf("the log says nothing: %s", log.String())
			}
			// A certificate is served a moment before it is kept.
			waitForFiles(t, filepath.Join(cache, "packs.example.com"), filepath.Join(cache, "mirror.example.com"))
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			// A restart serves what is in the cache.
			_, _, stop = runConfig(t, text)
			if serial, err := p.Handshake(tt.addr, "packs.example.com"); err != nil || serial != serials["packs.example.com"] {
				t.Errorf("after a restart: %s, %v; was %s", serial, err, serials["packs.example.com"])
			}
			if orders(p) != before {
				t.Error("a restart ordered a certificate")
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(cache)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s can be read by others: %v, %v", e.Name(), info.Mode(), err)
				}
			}
		})
	}
}

// Two replicas on one store: the second finds what the first obtained, and answers challenges for it.
func TestReplicasShareCertificates(t *testing.T) {
	p := testserver.StartPebble(t, 90*24*time.Hour)
	root := t.TempDir()
	storage := "{filesystem: {rootdirectory: " + root + "}}"
	first, _, _ := runConfig(t, acmeConfig(p, storage, p.TLSAddr, "cachestorage: true"))
	var serial string
	testserver.Eventually(t, "a certificate", time.Minute, func() bool {
		var err error
		serial, err = p.Handshake(first, "packs.example.com")
		return err == nil
	})
	testserver.Eventually(t, "the other host's", time.Minute, func() bool {
		_, err := p.Handshake(first, "mirror.example.com")
		return err == nil
	})
	kept := filepath.Join(root, "objects", "a", "acme-")
	waitForFiles(t, kept+"packs.example.com", kept+"mirror.example.com")
	before := orders(p)
	second, _, _ := runConfig(t, acmeConfig(p, storage, "127.0.0.1:0", "cachestorage: true"))
	if got, err := p.Handshake(second, "packs.example.com"); err != nil || got != serial {
		t.Errorf("the second replica serves %s (%v), the first %s", got, err, serial)
	}
	if orders(p) != before {
		t.Error("the second replica ordered a certificate")
	}
}

func TestCertificatesAreRenewed(t *testing.T) {
	p := testserver.StartPebble(t, 12*time.Second)
	addr, _, _ := runConfig(t, acmeConfig(p, "inmemory", p.TLSAddr, "cachestorage: true"))
	var first string
	testserver.Eventually(t, "a certificate", time.Minute, func() bool {
		var err error
		first, err = p.Handshake(addr, "packs.example.com")
		return err == nil
	})
	testserver.Eventually(t, "another one", time.Minute, func() bool {
		again, err := p.Handshake(addr, "packs.example.com")
		if err != nil {
			t.Fatalf("while it is renewed: %v", err)
		}
		return again != first
	})
}
