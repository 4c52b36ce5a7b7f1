package controllers

import (
	"fmt"
	"time"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// optionalPoll is how often to look whether a kind that the cluster lacks was installed.
const optionalPoll = 10 * time.Second

// evaluateIssued looks at what cert-manager has issued, and at what it says of the next.
func evaluateIssued(o *observed) certificateState {
	r := o.registry
	if lacks(o, children.CertificateKind) {
		return certificateState{nothing: true, reason: v1alpha1.ReasonCertManagerMissing,
			message: "the cluster does not have cert-manager, which spec.tls.issuerRef needs: install it, which is noticed by itself, or use another kind of tls"}
	}
	name := children.TLSSecret(r)
	secret := o.sources[name]
	said, failed := certManagerSays(o)
	if err := o.unknown[children.CertificateKind]; err != nil {
		said = certificateState{reason: v1alpha1.ReasonReconcileFailed, message: "the Certificate cannot be read: " + clip(withoutAddresses(err)) + "; trying again"}
	}
	if secret == nil || len(secret.Data["tls.crt"]) == 0 {
		said.nothing = true
		if said.message == "" {
			said.reason, said.message = v1alpha1.ReasonNotIssued, "cert-manager was asked for a certificate"
		}
		return said
	}
	state := evaluateCertificate(name, secret, children.IssuedNames(r), o.now)
	switch {
	case state.nothing:
		return state
	case failed:
		// What is there goes on being served; that no other will follow is for somebody to mend before it expires.
		said.leaf, said.nextLook, said.serves = state.leaf, state.nextLook, state.ok() || state.serves
		said.message = fmt.Sprintf("%s; %s", said.message, state.message)
		return said
	case !state.ok() && said.message != "":
		state.message = fmt.Sprintf("%s; %s", state.message, said.message)
	}
	return state
}

// certManagerSays is what the Certificate reports of its issuance. cert-manager's reason and words are quoted; what it calls
// its reasons is no part of this API. failed says whether the last attempt did.
func certManagerSays(o *observed) (said certificateState, failed bool) {
	live := o.optional[children.CertificateKind].live
	if live == nil {
		return said, false
	}
	conditions := nested(live, "status", "conditions")
	quote := func(reason, theirs, message string) certificateState {
		return certificateState{reason: reason, message: fmt.Sprintf("cert-manager: %s: %s", clip(theirs), clip(message))}
	}
	if status, reason, message := conditionOf(conditions, "Issuing"); status == "False" && reason != "" && reason != "Issued" {
		return quote(v1alpha1.ReasonIssuanceFailed, reason, message), true
	}
	if status, reason, message := conditionOf(conditions, "Ready"); status != "True" && reason != "" {
		return quote(v1alpha1.ReasonNotIssued, reason, message), false
	}
	return said, false
}
