package controllers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"packregistry.dev/api/v1alpha1"
)

func secretOf(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: data}
}

// trusts says whether a client that trusts a bundle accepts a certificate for host.
func trusts(t *testing.T, bundle []byte, leaf map[string][]byte, host string, at time.Time) error {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		t.Fatal("no certificate in the bundle")
	}
	pair, err := tls.X509KeyPair(leaf[corev1.TLSCertKey], leaf[corev1.TLSPrivateKeyKey])
	must(t, err)
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at})
	return err
}

// Where a host is an IP address, the certificate is for the address as such: clients do not look for one among names.
func TestSelfSignedForAddresses(t *testing.T) {
	r := newRegistry("team")
	r.Spec.Hosts = []string{"192.0.2.1", "packs.example.com", "2001:db8::1"}
	a, err := keepCA(r, nil, nil, now)
	must(t, err)
	for _, host := range []string{"192.0.2.1", "packs.example.com", "[2001:db8::1]", "packs.team.svc"} {
		if err := trusts(t, a.bundle, a.leaf, host, now); err != nil {
			t.Error(err)
		}
	}
	if state := evaluateCertificate("s", secretOf(a.leaf), r.Spec.Hosts, now); !state.ok() || len(state.leaf.IPAddresses) != 2 || len(state.leaf.DNSNames) != 3 {
		t.Errorf("%s: %v, %v", state.message, state.leaf.DNSNames, state.leaf.IPAddresses)
	}
	// It stays as it is while the hosts do, and is another for others.
	for _, hosts := range [][]string{r.Spec.Hosts, {"192.0.2.2", "packs.example.com", "2001:db8::1"}, {"packs.example.com"}} {
		same := slices.Equal(hosts, r.Spec.Hosts)
		changed := r.DeepCopy()
		changed.Spec.Hosts = hosts
		again, err := keepCA(changed, secretOf(a.ca), secretOf(a.leaf), now)
		must(t, err)
		if bytes.Equal(again.leaf[corev1.TLSCertKey], a.leaf[corev1.TLSCertKey]) != same {
			t.Errorf("for %v the certificate is the same: %v", hosts, !same)
		}
	}
}

func TestKeepCA(t *testing.T) {
	r := newRegistry("team")
	first, err := keepCA(r, nil, nil, now)
	must(t, err)
	again, err := keepCA(r, secretOf(first.ca), secretOf(first.leaf), now.Add(time.Hour))
	must(t, err)
	if !bytes.Equal(again.leaf[corev1.TLSCertKey], first.leaf[corev1.TLSCertKey]) || again.invalid != "" {
		t.Error("made anew")
	}
	other, err := keepCA(r, nil, nil, now)
	must(t, err)
	foreign, err := keepCA(r, secretOf(first.ca), secretOf(other.leaf), now)
	must(t, err)
	if bytes.Equal(foreign.leaf[corev1.TLSCertKey], other.leaf[corev1.TLSCertKey]) {
		t.Error("serves a certificate of another CA")
	}
	// A certificate that is no CA's, and one whose key is another's, are left for a person to look at.
	mixed := map[string][]byte{corev1.TLSCertKey: first.ca[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: other.ca[corev1.TLSPrivateKeyKey]}
	for _, data := range []map[string][]byte{first.leaf, mixed, {}} {
		if a, err := keepCA(r, secretOf(data), nil, now); err != nil || !strings.Contains(a.invalid, "delete it for a new CA") || a.leaf != nil {
			t.Errorf("%q, %v", a.invalid, err)
		}
	}
}

func TestEvaluateServed(t *testing.T) {
	leaf := func(host string, to time.Time) *x509.Certificate {
		block, _ := pem.Decode(certificateSecret(t, "", host, now.AddDate(0, -1, 0), to).Data[corev1.TLSCertKey])
		c, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		return c
	}
	for name, tt := range map[string]struct {
		served *x509.Certificate
		err    error
		reason string
		look   time.Duration
		words  string
	}{
		"not asked":  {nil, nil, v1alpha1.ReasonNotIssued, servedPoll, "no certificate for packs.example.com"},
		"not issued": {nil, errors.New("remote error: tls: internal error"), v1alpha1.ReasonNotIssued, servedPoll, "tls: internal error"},
		"good":       {leaf("packs.example.com", now.AddDate(0, 2, 0)), nil, v1alpha1.ReasonCertificateValid, servedLook, "2030-03-01"},
		"soon":       {leaf("packs.example.com", now.AddDate(0, 0, 1)), nil, v1alpha1.ReasonExpiresSoon, servedPoll, "2030-01-02"},
		"expired":    {leaf("packs.example.com", now.AddDate(0, 0, -1)), nil, v1alpha1.ReasonExpired, servedPoll, "expired on"},
		"another":    {leaf("x.example.com", now.AddDate(0, 2, 0)), nil, v1alpha1.ReasonWrongHost, servedPoll, "not for packs.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry("team")
			got := evaluateServed(&observed{registry: r, now: now, served: tt.served, servedErr: tt.err})
			asker := &Reconciler{Now: func() time.Time { return now }}
			again := asker.askAgain(probeCertificate, probeTarget{host: canonicalHost(r)}, probeAnswer{certificate: tt.served, err: tt.err})
			if got.reason != tt.reason || again != tt.look || !strings.Contains(got.message, tt.words) {
				t.Errorf("%s, again in %s: %s", got.reason, again, got.message)
			}
		})
	}
}

// A server that speaks TLS shows its certificate; one that does not answer costs no more than the timeout.
func TestAskCertificate(t *testing.T) {
	secret := certificateSecret(t, "", "packs.example.com", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	must(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	must(t, err)
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.(*tls.Conn).HandshakeContext(context.Background()) //nolint:errcheck,forcetypeassert // the client tells
			c.Close()
		}
	}()
	got, err := AskCertificate(t.Context(), listener.Addr().String(), "packs.example.com")
	must(t, err)
	if got.DNSNames[0] != "packs.example.com" {
		t.Errorf("%v", got.DNSNames)
	}
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	began := time.Now()
	if _, err := AskCertificate(t.Context(), silent.Addr().String(), "packs.example.com"); err == nil || time.Since(began) > askTimeout+time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

func TestConflicts(t *testing.T) {
	of := func(namespace, name string, age int, uid string) v1alpha1.PackRegistry {
		r := newRegistry(namespace)
		r.Name, r.UID, r.CreationTimestamp = name, types.UID(uid), metav1.NewTime(now.Add(-time.Duration(age)*time.Hour))
		return *r
	}
	me := of("team", "me", 5, "m")
	deleted := of("team", "deleted", 9, "a")
	deleted.DeletionTimestamp = &metav1.Time{Time: now}
	other := of("team", "other", 9, "a")
	other.Spec.Hosts = []string{"other.example.com"}
	for name, tt := range map[string]struct {
		other v1alpha1.PackRegistry
		want  string
	}{
		"older":             {of("team", "old", 9, "a"), "host packs.example.com belongs to PackRegistry old"},
		"younger":           {of("team", "young", 1, "a"), ""},
		"same age, less":    {of("team", "twin", 5, "a"), "PackRegistry twin"},
		"same age, more":    {of("team", "twin", 5, "z"), ""},
		"another namespace": {of("secret-project", "hidden", 9, "a"), "a PackRegistry of another namespace"},
		"going":             {deleted, ""},
		"another host":      {other, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := findConflict(&me, []v1alpha1.PackRegistry{tt.other})
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || strings.Contains(got, "secret-project") || strings.Contains(got, "hidden") {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
