package controllers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/internal/pemfile"
)

// certificateState is what was found out about the certificate that clients see.
type certificateState struct {
	leaf    *x509.Certificate
	reason  string
	message string
	// serves says that clients take what they are shown now, though somebody must see to it.
	serves bool
	// nothing says that there is none that pods could start with: an expired or foreign one can be served, a missing one
	// cannot.
	nothing bool
	// nextLook is when the answer changes by itself.
	nextLook time.Time
}

func (c certificateState) ok() bool {
	return c.reason == v1alpha1.ReasonCertificateValid || c.reason == v1alpha1.ReasonDisabled
}

// soon is how long before its end a certificate is reported: a tenth of its life, a week at most.
func soon(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-min(7*24*time.Hour, leaf.NotAfter.Sub(leaf.NotBefore)/10))
}

// Waits between looks at a pod that obtains its certificate itself: while it has none, and when it has.
const (
	servedPoll = 5 * time.Second
	servedLook = time.Hour
)

// evaluateServed looks at the certificate that a pod has obtained and serves.
func evaluateServed(o *observed) certificateState {
	if o.served == nil {
		why := "not asked yet"
		if o.servedErr != nil {
			why = clip(o.servedErr.Error())
		}
		return certificateState{reason: v1alpha1.ReasonNotIssued,
			message: fmt.Sprintf("no certificate for %s was obtained yet (%s); its name must lead here from the ACME server, on port 443 or 80", canonicalHost(o.registry), why)}
	}
	return evaluateLeaf(o.served, []string{canonicalHost(o.registry)}, o.now)
}

// AskCertificate asks the server at an address for the certificate that it shows to clients of host. What it shows is
// only looked at, so whether it is to be trusted does not matter.
func AskCertificate(ctx context.Context, addr, host string) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}} //nolint:gosec // see above
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	peers := conn.(*tls.Conn).ConnectionState().PeerCertificates //nolint:forcetypeassert // what this dialer dials
	if len(peers) == 0 {
		return nil, errors.New("it showed none")
	}
	return peers[0], nil
}

// askTimeout bounds a question to a pod.
const askTimeout = 2 * time.Second

// evaluateCertificate looks at a Secret as a client will look at the certificate in it.
func evaluateCertificate(name string, secret *corev1.Secret, hosts []string, now time.Time) certificateState {
	failed := func(reason, format string, args ...any) certificateState {
		return certificateState{nothing: true, reason: reason, message: fmt.Sprintf("Secret %s: ", name) + fmt.Sprintf(format, args...)}
	}
	if secret == nil {
		return certificateState{nothing: true, reason: v1alpha1.ReasonSecretMissing, message: fmt.Sprintf("Secret %s does not exist; create it with the type kubernetes.io/tls", name)}
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(secret.Data[key]) == 0 {
			return failed(v1alpha1.ReasonSecretInvalid, "has no key %s", key)
		}
	}
	pair, err := pemfile.KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return failed(v1alpha1.ReasonSecretInvalid, "%s and %s cannot be used together: %s", corev1.TLSCertKey, corev1.TLSPrivateKeyKey,
			strings.TrimPrefix(err.Error(), "tls: "))
	}
	state := evaluateLeaf(pair.Leaf, hosts, now)
	if !state.ok() {
		state.message = fmt.Sprintf("Secret %s: ", name) + state.message
	}
	return state
}

// evaluateLeaf looks at a certificate as a client of the hosts will.
func evaluateLeaf(leaf *x509.Certificate, hosts []string, now time.Time) certificateState {
	state := certificateState{leaf: leaf}
	date := leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case now.After(leaf.NotAfter):
		state.reason, state.message = v1alpha1.ReasonExpired, fmt.Sprintf("the certificate expired on %s", date)
		return state
	case now.Before(leaf.NotBefore):
		state.reason, state.message = v1alpha1.ReasonExpired, fmt.Sprintf("the certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
		state.nextLook = leaf.NotBefore
		return state
	}
	for _, host := range hosts {
		if leaf.VerifyHostname(host) != nil {
			state.reason = v1alpha1.ReasonWrongHost
			state.message = fmt.Sprintf("the certificate is not for %s, but for %s", host, clip(names(leaf)))
			return state
		}
	}
	if !now.Before(soon(leaf)) {
		state.reason, state.message = v1alpha1.ReasonExpiresSoon, fmt.Sprintf("the certificate expires on %s", date)
		state.nextLook, state.serves = leaf.NotAfter, true
		return state
	}
	state.reason, state.message = v1alpha1.ReasonCertificateValid, fmt.Sprintf("the certificate is valid until %s", date)
	state.nextLook = soon(leaf)
	return state
}

func names(leaf *x509.Certificate) string {
	all := append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name at all (clients ignore the common name)"
	}
	return strings.Join(all, ", ")
}
