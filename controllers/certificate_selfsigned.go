package controllers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
	"packregistry.dev/internal/pemfile"
)

// Lives of the certificates that tls.selfSigned makes, and how long before its end each is followed by another. The CA's
// successor comes before any certificate that it has to sign would outlive it.
const (
	caLife     = 10 * 365 * 24 * time.Hour
	caMargin   = 365 * 24 * time.Hour
	leafLife   = 90 * 24 * time.Hour
	leafMargin = 30 * 24 * time.Hour
	// backdated allows for clients whose clocks are behind.
	backdated = time.Hour
)

// selfSignedCA is what tls.selfSigned comes to: contents of Secrets, and the certificates to trust.
type selfSignedCA struct {
	ca, leaf map[string][]byte
	bundle   []byte
	// renew is when something of it is to be made anew.
	renew time.Time
	// invalid says why the CA that is there cannot be used; then it is left alone, and nothing else is made.
	invalid string
}

// keepCA goes on with the CA and the certificate that are there as long as they are good, and makes what is not.
func keepCA(r *v1alpha1.PackRegistry, caSecret, leafSecret *corev1.Secret, now time.Time) (selfSignedCA, error) {
	var a selfSignedCA
	var pair tls.Certificate
	var err error
	if caSecret != nil {
		pair, err = pemfile.KeyPair(caSecret.Data[corev1.TLSCertKey], caSecret.Data[corev1.TLSPrivateKeyKey])
		if err == nil && !pair.Leaf.IsCA {
			err = fmt.Errorf("the certificate is not a CA's")
		}
		if err != nil {
			a.invalid = fmt.Sprintf("Secret %s cannot be used: %v; delete it for a new CA, which clients must then trust", caSecret.Name, err)
			return a, nil
		}
		a.ca, a.bundle = caSecret.Data, caSecret.Data[children.CAKey]
		if len(a.bundle) == 0 { // copied without it
			a.bundle = caSecret.Data[corev1.TLSCertKey]
			a.ca[children.CAKey] = a.bundle
		} else if _, err := pemfile.Certificates(a.bundle); err != nil {
			a.invalid = fmt.Sprintf("Secret %s: %s: %v; mend it, or delete the key", caSecret.Name, children.CAKey, err)
			return a, nil
		}
	}
	if caSecret == nil || !now.Before(pair.Leaf.NotAfter.Add(-caMargin)) {
		if pair, a.ca, err = makeCA(r, a.bundle, now); err != nil {
			return a, err
		}
		a.bundle = a.ca[children.CAKey]
	}
	// The first host comes first, also where it is an address.
	names := slices.Concat(r.Spec.Hosts, children.ServiceNames(r))
	a.renew = pair.Leaf.NotAfter.Add(-caMargin)
	if leaf := goodLeaf(leafSecret, pair.Leaf, names, now); leaf != nil {
		a.leaf = leafSecret.Data
		a.leaf[children.CAKey] = a.bundle
		a.renew = earlier(a.renew, leaf.NotAfter.Add(-leafMargin))
		return a, nil
	}
	a.leaf, err = makeLeaf(pair, names, a.bundle, now)
	a.renew = earlier(a.renew, now.Add(leafLife-leafMargin))
	return a, err
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// goodLeaf returns the certificate in a Secret if it can go on being served.
func goodLeaf(secret *corev1.Secret, ca *x509.Certificate, names []string, now time.Time) *x509.Certificate {
	if secret == nil {
		return nil
	}
	pair, err := pemfile.KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil || pair.Leaf.CheckSignatureFrom(ca) != nil || !now.Before(pair.Leaf.NotAfter.Add(-leafMargin)) || now.Before(pair.Leaf.NotBefore) ||
		!isFor(pair.Leaf, names) {
		return nil
	}
	return pair.Leaf
}

// isFor says whether a certificate is for these names and addresses, and no others.
func isFor(leaf *x509.Certificate, hosts []string) bool {
	names, addresses := children.SplitNames(hosts)
	return slices.Equal(leaf.DNSNames, names) && slices.EqualFunc(leaf.IPAddresses, addresses, net.IP.Equal)
}

// makeCA makes a CA. Certificates of those before it stay in its bundle until they expire.
func makeCA(r *v1alpha1.PackRegistry, before []byte, now time.Time) (tls.Certificate, map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: fmt.Sprintf("CA of PackRegistry %s/%s", r.Namespace, r.Name)},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	data, err := sign(template, key, template, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	data[children.CAKey] = append(slices.Clone(data[corev1.TLSCertKey]), unexpired(before, now)...)
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	return pair, data, err
}

// unexpired keeps of a bundle what is still valid.
func unexpired(bundle []byte, now time.Time) []byte {
	var kept bytes.Buffer
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && now.Before(c.NotAfter) {
			kept.Write(pem.EncodeToMemory(block))
		}
	}
	return kept.Bytes()
}

// makeLeaf makes a certificate for names and addresses.
func makeLeaf(ca tls.Certificate, hosts []string, bundle []byte, now time.Time) (map[string][]byte, error) {
	names, addresses := children.SplitNames(hosts)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: clipName(hosts[0])}, DNSNames: names, IPAddresses: addresses,
		NotBefore: now.Add(-backdated), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	data, err := sign(template, key, ca.Leaf, ca.PrivateKey)
	if err != nil {
		return nil, err
	}
	data[children.CAKey] = bundle
	return data, nil
}

// clipName: a common name has 64 characters at most (RFC 5280), and nobody reads it.
func clipName(name string) string { return name[:min(len(name), 64)] }

// sign returns certificate and key as a Secret of type kubernetes.io/tls holds them.
func sign(template *x509.Certificate, key *ecdsa.PrivateKey, parent *x509.Certificate, signer any) (map[string][]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
