package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// This file makes the cluster's CA, and the keys and certificates of its parts.

// identities are the clients of the API server: kubeconfig name → (user, group).
var identities = map[string][2]string{
	"admin":              {"admin", "system:masters"},
	"controller-manager": {"system:kube-controller-manager", ""},
	"scheduler":          {"system:kube-scheduler", ""},
	"kubelet":            {"system:node:" + nodeName, "system:nodes"},
	"kubelet-2":          {"system:node:" + secondName, "system:nodes"},
	"kube-proxy":         {"system:kube-proxy", ""},
	"coredns":            {"cluster:coredns", ""},
	"provisioner":        {"cluster:provisioner", ""},
	"loadbalancer":       {"cluster:loadbalancer", ""},
}

func (c *cluster) createKeys() error {
	ca, err := c.loadOrCreateCA()
	if err != nil {
		return err
	}
	if err := ca.issue(c.path("pki", "apiserver"), pkix.Name{CommonName: "kube-apiserver"},
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		[]string{"127.0.0.1", nodeIP, apiService}); err != nil {
		return err
	}
	for _, n := range []node{c.node1(), c.node2()} {
		if err := ca.issue(c.path("pki", n.serving), pkix.Name{CommonName: n.name}, []string{n.name}, []string{n.ip}); err != nil {
			return err
		}
	}
	if err := ca.issue(c.path("pki", "apiserver-kubelet"), pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}}, nil, nil); err != nil {
		return err
	}
	if _, err := os.Stat(c.path("pki", "service-account.key")); errors.Is(err, fs.ErrNotExist) {
		if _, err := newKey(c.path("pki", "service-account.key")); err != nil {
			return err
		}
	}
	for name, identity := range identities {
		subject := pkix.Name{CommonName: identity[0]}
		if identity[1] != "" {
			subject.Organization = []string{identity[1]}
		}
		if err := ca.issue(c.path("pki", name), subject, nil, nil); err != nil {
			return err
		}
		inside := fmt.Sprintf("https://%s:%d", nodeIP, apiInside)
		if err := c.writeKubeconfig(name+".kubeconfig", name, inside); err != nil {
			return err
		}
	}
	return c.writeKubeconfig("kubeconfig", "admin", fmt.Sprintf("https://127.0.0.1:%d", c.apiPort))
}

func (c *cluster) writeKubeconfig(file, identity, server string) error {
	encoded := map[string]string{}
	for key, path := range map[string]string{"ca": "ca.crt", "crt": identity + ".crt", "key": identity + ".key"} {
		data, err := os.ReadFile(c.path("pki", path))
		if err != nil {
			return err
		}
		encoded[key] = base64.StdEncoding.EncodeToString(data)
	}
	return os.WriteFile(c.path(file), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: packregistry
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: %s
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: packregistry
  context: {cluster: packregistry, user: %s}
current-context: packregistry
`, server, encoded["ca"], identity, encoded["crt"], encoded["key"], identity), 0o600)
}

type certificateAuthority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func (c *cluster) loadOrCreateCA() (*certificateAuthority, error) {
	crtPath, keyPath := c.path("pki", "ca.crt"), c.path("pki", "ca.key")
	crt, err := os.ReadFile(crtPath)
	if errors.Is(err, fs.ErrNotExist) {
		return createCA(crtPath, keyPath)
	}
	if err != nil {
		return nil, err
	}
	keyText, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, err
	}
	crtBlock, _ := pem.Decode(crt)
	keyBlock, _ := pem.Decode(keyText)
	if crtBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("%s or %s is damaged; run: cluster down", crtPath, keyPath)
	}
	a := &certificateAuthority{}
	if a.certificate, err = x509.ParseCertificate(crtBlock.Bytes); err != nil {
		return nil, err
	}
	a.key, err = x509.ParseECPrivateKey(keyBlock.Bytes)
	return a, err
}

func createCA(crtPath, keyPath string) (*certificateAuthority, error) {
	key, err := newKey(keyPath)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "packregistry-cluster"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	a := &certificateAuthority{key: key}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, writePEM(crtPath, "CERTIFICATE", der)
}

// issue writes <path>.crt and <path>.key for client and server use, unless they exist.
func (a *certificateAuthority) issue(path string, subject pkix.Name, names, addresses []string) error {
	if _, err := os.Stat(path + ".crt"); err == nil {
		return nil
	}
	key, err := newKey(path + ".key")
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: subject, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	return writePEM(path+".crt", "CERTIFICATE", der)
}

func newKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
