package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// This file holds the other registries that get the same loads, and what registries need for HTTPS and users.
//
// distribution runs as people run it: the same storage, its cache of descriptors in memory, the same certificate, the same file of
// users. go-containerregistry's registry (crane registry serve) has neither certificates nor users and keeps everything in
// memory. It is the fastest that is known for manifests, and gets every load over plain HTTP without a password: beside a load
// with HTTPS the ratio is what all of that costs.

// peers starts the other registries that a load is compared with. own are those of this round alone.
func (l *laboratory) peers(ctx context.Context, load load) (list, own []*target, err error) {
	if l.options.peer != "" {
		list = append(list, l.peer())
	}
	if l.options.before != "" {
		t, err := l.startBefore(ctx, load)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, t)
		if t != l.before {
			own = append(own, t)
		}
	}
	if load.kind == "page" {
		return list, own, nil // the others would take hours to fill
	}
	if l.options.crane != "" && load.kind != "push" && load.driver != "s3" {
		if l.crane == nil {
			if l.crane, err = l.startCrane(ctx); err != nil {
				return nil, own, err
			}
		}
		list = append(list, l.crane)
	}
	if l.options.distribution == "" || load.driver == "s3" {
		return list, own, nil
	}
	if load.kind == "push" {
		t, err := l.startDistribution(ctx, load)
		if err != nil {
			return nil, own, err
		}
		return append(list, t), append(own, t), nil
	}
	if l.distribution == nil {
		if l.distribution, err = l.startDistribution(ctx, load); err != nil {
			return nil, own, err
		}
	}
	return append(list, l.distribution), own, nil
}

// startBefore runs the build that this one is compared with, shared by the same loads as this one.
func (l *laboratory) startBefore(ctx context.Context, load load) (t *target, err error) {
	if load.kind == "push" {
		return l.startProgram(ctx, load, "before", l.options.before)
	}
	if l.before == nil {
		l.before, err = l.startProgram(ctx, load, "before", l.options.before)
	}
	return l.before, err
}

func (l *laboratory) startCrane(ctx context.Context) (*target, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return begin(ctx, "crane", address{addr: addr}, "/v2/", nil, l.options.crane, "registry", "serve", "--address", addr)
}

func (l *laboratory) startDistribution(ctx context.Context, load load) (*target, error) {
	dir, err := l.newDir()
	if err != nil {
		return nil, err
	}
	at, err := l.address(load)
	if err != nil {
		return nil, err
	}
	storage := "inmemory: {}"
	if load.driver == "filesystem" {
		storage = "filesystem: {rootdirectory: " + dir + "/store}"
	}
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {%s, cache: {blobdescriptor: inmemory}}\nhttp: {addr: '%s'%s}\n",
		storage, at.addr, at.settings())
	if load.auth {
		if err := writeUsers(dir + "/htpasswd"); err != nil {
			return nil, err
		}
		text += "auth: {htpasswd: {realm: bench, path: " + dir + "/htpasswd}}\n"
	}
	if err := os.WriteFile(dir+"/config.yml", []byte(text), 0o600); err != nil {
		return nil, err
	}
	t, err := begin(ctx, "distribution", at, "/", []string{"OTEL_TRACES_EXPORTER=none", "TMPDIR=" + dir}, l.options.distribution, "serve", dir+"/config.yml")
	if err != nil {
		return nil, err
	}
	t.auth = load.auth
	kill := t.stop
	t.stop = func() error { return errors.Join(kill(), os.RemoveAll(dir)) }
	return t, nil
}

// newDir makes a directory of a target's own.
func (l *laboratory) newDir() (string, error) {
	l.n++
	dir := filepath.Join(l.dir, strconv.Itoa(l.n))
	return dir, os.Mkdir(dir, 0o700)
}

func writeUsers(file string) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(benchPassword), 10)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(benchUser+":"+string(hash)+"\n"), 0o600)
}

// address is where a target serves, and with which certificate, if any.
type address struct {
	addr             string
	certificate, key string
	roots            *x509.CertPool
}

func (l *laboratory) address(load load) (address, error) {
	addr, err := freeAddr()
	if err != nil || !load.tls {
		return address{addr: addr}, err
	}
	if l.certified.roots == nil {
		if l.certified, err = certify(l.dir); err != nil {
			return address{}, err
		}
	}
	at := l.certified
	at.addr = addr
	return at, nil
}

// settings are those of the section http, the same for the registry and for distribution.
func (a address) settings() string {
	if a.roots == nil {
		return ""
	}
	return fmt.Sprintf(", tls: {certificate: %s, key: %s}", a.certificate, a.key)
}

func (a address) url() string {
	if a.roots == nil {
		return "http://" + a.addr
	}
	return "https://" + a.addr
}

// clientTLS is how a client of the target begins TLS; nil where there is none. HTTP/1.1 is what the load generator speaks.
func (a address) clientTLS() *tls.Config {
	if a.roots == nil {
		return nil
	}
	return &tls.Config{RootCAs: a.roots, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
}

// certify makes a certificate for loopback.
func certify(dir string) (address, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return address{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return address{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return address{}, err
	}
	a := address{certificate: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), roots: x509.NewCertPool()}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	a.roots.AppendCertsFromPEM(text)
	return a, errors.Join(os.WriteFile(a.certificate, text, 0o600),
		os.WriteFile(a.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}
