package controllers

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"packregistry.dev/api/v1alpha1"
)

// certificateState is what was found out about the certificate that clients see.
type certificateState struct {
	leaf    *x509.Certificate
	reason  string
	message string
	// nextLook is when the answer changes by itself.
	nextLook time.Time
}

func (c certificateState) ok() bool {
	return c.reason == v1alpha1.ReasonCertificateValid || c.reason == v1alpha1.ReasonDisabled
}

// usable says whether pods can start with it: an expired or foreign certificate can be served, a missing one cannot.
func (c certificateState) usable() bool {
	return c.reason != v1alpha1.ReasonSecretMissing && c.reason != v1alpha1.ReasonSecretInvalid
}

// soon is how long before its end a certificate is reported: a tenth of its life, a week at most.
func soon(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-min(7*24*time.Hour, leaf.NotAfter.Sub(leaf.NotBefore)/10))
}

// judgeCertificate looks at a Secret as a client will look at the certificate in it.
func judgeCertificate(name string, secret *corev1.Secret, hosts []string, now time.Time) certificateState {
	failed := func(reason, format string, args ...any) certificateState {
		return certificateState{reason: reason, message: fmt.Sprintf("Secret %s: ", name) + fmt.Sprintf(format, args...)}
	}
	if secret == nil {
		return certificateState{reason: v1alpha1.ReasonSecretMissing, message: fmt.Sprintf("Secret %s does not exist; create it with the type kubernetes.io/tls", name)}
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(secret.Data[key]) == 0 {
			return failed(v1alpha1.ReasonSecretInvalid, "has no key %s", key)
		}
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return failed(v1alpha1.ReasonSecretInvalid, "%s and %s cannot be used together: %s", corev1.TLSCertKey, corev1.TLSPrivateKeyKey,
			strings.TrimPrefix(err.Error(), "tls: "))
	}
	state := certificateState{leaf: pair.Leaf}
	date := pair.Leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case now.After(pair.Leaf.NotAfter):
		state.reason, state.message = v1alpha1.ReasonExpired, fmt.Sprintf("Secret %s: the certificate expired on %s", name, date)
		return state
	case now.Before(pair.Leaf.NotBefore):
		state.reason, state.message = v1alpha1.ReasonExpired, fmt.Sprintf("Secret %s: the certificate is not valid before %s", name, pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
		state.nextLook = pair.Leaf.NotBefore
		return state
	}
	for _, host := range hosts {
		if pair.Leaf.VerifyHostname(host) != nil {
			state.reason = v1alpha1.ReasonWrongHost
			state.message = fmt.Sprintf("Secret %s: the certificate is not for %s, but for %s", name, host, names(pair.Leaf))
			return state
		}
	}
	if !now.Before(soon(pair.Leaf)) {
		state.reason, state.message = v1alpha1.ReasonExpiresSoon, fmt.Sprintf("Secret %s: the certificate expires on %s", name, date)
		state.nextLook = pair.Leaf.NotAfter
		return state
	}
	state.reason, state.message = v1alpha1.ReasonCertificateValid, fmt.Sprintf("the certificate is valid until %s", date)
	state.nextLook = soon(pair.Leaf)
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
