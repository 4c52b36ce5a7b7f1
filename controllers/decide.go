package controllers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1apply "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	policyv1apply "k8s.io/client-go/applyconfigurations/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// decision is what to do about an observation. Making it reads and writes nothing.
type decision struct {
	// invalid is why the spec cannot be carried out.
	invalid string
	// conflict names a child that somebody else owns.
	conflict string
	// notAllowed is what the spec asks for and may not have.
	notAllowed string

	users       mergedUsers
	certificate certificateState
	// selfSigned says that what tls.selfSigned made is in its Secret.
	selfSigned bool
	bucket     bucketState
	ca         selfSignedCA
	// acmeCA are certificates to trust an ACME server by; waitsFor says what else pods cannot start without, and why not.
	acmeCA         []byte
	waitsFor       string
	waitsForReason string

	// first are users, certificates and what carries a deletion policy: they are applied before anything else, and also where
	// the rest of the spec is not carried out.
	first []child
	// children to apply, in this order.
	children []child
	// pods are the configuration and the Deployment that runs with it. upgrade says that they wait for a slot to be
	// upgraded, and slotWait why there is none yet.
	pods     []child
	upgrade  bool
	slotWait string
	// applied says that they are as the spec asks.
	applied bool
	// refused are children that could not be applied.
	refused []refusal
	// outdated are configurations of the past.
	outdated []metav1.PartialObjectMetadata
	// unwanted are children that the spec asks for no more.
	unwanted []client.Object
	// resync are pods that must look at their Secrets, with what they will have seen then.
	resync map[*corev1.Pod]string
	// requeueAfter is when to look even if nothing happens; zero for never.
	requeueAfter time.Duration
}

// stalled says whether only a person can help.
func (d *decision) stalled() bool {
	return d.invalid != "" || d.conflict != "" || d.notAllowed != ""
}

// claimPoll is how often to look for a claim that users are to bring.
const claimPoll = 5 * time.Second

// configMapPoll is how often to look at a ConfigMap that users bring: those of others are not watched.
const configMapPoll = time.Minute

// classPoll is how often to look for a StorageClass that a pending claim names.
const classPoll = 30 * time.Second

func decide(o *observed) decision {
	d := decideProtected(o)
	if d.conflict != "" {
		d.requeueIn(conflictPoll)
		return d
	}
	if d.invalid == "" {
		d.invalid = validate(o)
	}
	if d.stalled() {
		return d
	}
	if claimMissing(o) {
		d.requeueIn(claimPoll) // a claim without our labels is not watched
	}
	if o.autoscaler != "" {
		d.requeueIn(scalePoll)
	}
	if o.classMissing || o.ingressClassMissing {
		d.requeueIn(classPoll) // classes are not watched
	}
	d.plan(o)
	d.planPruning(o)
	return d
}

// decideProtected decides on users, certificates and deletion policies, as far as they could be read.
func decideProtected(o *observed) decision {
	r := o.registry
	d := decision{}
	d.bucket = evaluateBucket(r.Spec.Storage.S3, o.sources)
	if slices.ContainsFunc(caRefs(r), func(ref *v1alpha1.CARef) bool { return ref.Kind == v1alpha1.CARefConfigMap }) {
		d.requeueIn(configMapPoll)
	}
	d.decideCertificate(o)
	d.users = mergeUsers(r.Spec.Auth.SecretRefs, o.sources, o.users, o.made)
	if !o.unread.pods {
		d.resync = podsToResync(o)
	}
	d.conflict = findConflict(r, o.conflicting)
	if wrong := r.DecodeError; wrong != "" {
		d.invalid = "the spec " + storedUnreadable + ": " + clip(wrong)
	}
	d.notAllowed = strings.Join(slices.Concat(o.refused, o.refusedHosts), "; ")
	if len(o.refusedHosts) > 0 {
		d.requeueIn(hostsAge)
	} else if o.hostsMayChange {
		d.requeueIn(hostsPoll)
	}
	d.planFirst(o)
	return d
}

// requeueIn asks to look again after a time, if nothing happens before.
func (d *decision) requeueIn(wait time.Duration) {
	if wait = max(wait, time.Second); d.requeueAfter == 0 || wait < d.requeueAfter {
		d.requeueAfter = wait
	}
}

// decideCertificate finds out which certificate clients see, and makes it where that is the operator's part.
func (d *decision) decideCertificate(o *observed) {
	r := o.registry
	switch spec := r.Spec.TLS; {
	case spec.SecretRef != nil:
		d.certificate = evaluateCertificate(spec.SecretRef.Name, o.sources[spec.SecretRef.Name], r.Spec.Hosts, o.now)
	case spec.SelfSigned != nil:
		d.decideSelfSigned(o)
	case spec.IssuerRef != nil:
		d.certificate = evaluateIssued(o)
	case spec.LetsEncrypt != nil:
		d.certificate = evaluateServed(o)
		if ref := spec.LetsEncrypt.CARef; ref != nil {
			d.acmeCA = d.trust(ref, o)
		}
	default:
		d.certificate = certificateState{reason: v1alpha1.ReasonDisabled, message: "plain HTTP, as tls.disabled asks"}
	}
	if ref := r.Spec.TLS.ClientCARef; ref != nil {
		d.trust(ref, o)
	}
	if d.waitsFor != "" {
		d.certificate = certificateState{leaf: d.certificate.leaf, serves: d.certificate.ok() || d.certificate.serves, nothing: true, reason: d.waitsForReason, message: d.waitsFor, nextLook: d.certificate.nextLook}
	}
	if next := d.certificate.nextLook; !next.IsZero() {
		d.requeueIn(next.Sub(o.now))
	}
}

// trust reads certificates to trust, or notes that pods wait for them.
func (d *decision) trust(ref *v1alpha1.CARef, o *observed) []byte {
	pem, missing, invalid := trusted(ref, o.sources)
	switch {
	case missing != "":
		d.waitsFor, d.waitsForReason = missing, v1alpha1.ReasonSecretMissing
	case invalid != "":
		d.waitsFor, d.waitsForReason = invalid, v1alpha1.ReasonSecretInvalid
	}
	return pem
}

func (d *decision) decideSelfSigned(o *observed) {
	var err error
	d.ca, err = keepCA(o.registry, o.ca, o.leaf, o.now)
	switch {
	case err != nil: // of the system's randomness
		d.certificate = certificateState{nothing: true, reason: v1alpha1.ReasonReconcileFailed, message: err.Error(), nextLook: o.now.Add(time.Minute)}
		return
	case d.ca.invalid != "":
		d.certificate = certificateState{nothing: true, reason: v1alpha1.ReasonSecretInvalid, message: d.ca.invalid}
		return
	}
	name := children.TLSSecret(o.registry)
	d.certificate = evaluateCertificate(name, &corev1.Secret{Data: d.ca.leaf}, o.registry.Spec.Hosts, o.now)
	d.certificate.nextLook = d.ca.renew
}

// shownCertificate is the certificate that clients see. One that tls.selfSigned made, but that did not get into its Secret, is
// none: another is made at the next look, and a status that spoke of it would be written each time.
func (d *decision) shownCertificate(o *observed) certificateState {
	name := children.TLSSecret(o.registry)
	switch {
	case o.registry.Spec.TLS.SelfSigned == nil || d.ca.leaf == nil || d.selfSigned:
		return d.certificate
	case o.leaf == nil:
		return certificateState{nothing: true, reason: v1alpha1.ReasonProgressing, message: fmt.Sprintf("Secret %s with the certificate is not there yet", name)}
	}
	return evaluateCertificate(name, o.leaf, o.registry.Spec.Hosts, o.now)
}

// validate finds what the CRD's rules cannot see.
func validate(o *observed) string {
	if o.image == "" && o.registry.Spec.Image == "" {
		return "neither spec.image nor the operator names an image for the registry; set spec.image, or RELATED_IMAGE_REGISTRY on the operator"
	}
	if why := unlikeKept(o.registry, o.claim); why != "" {
		return why
	}
	spec := o.registry.Spec.Storage.PersistentVolumeClaim
	if spec == nil || spec.ClaimName == "" || o.claim == nil {
		return ""
	}
	if n := o.registry.Spec.Replicas; n != nil && *n > 1 && !shared(o) {
		return fmt.Sprintf("claim %s can be mounted by one node only, and spec.replicas is %d: use one replica, or a claim with ReadWriteMany", spec.ClaimName, *n)
	}
	return ""
}

// shared says whether several pods can mount the claim at once.
func shared(o *observed) bool {
	spec := o.registry.Spec.Storage.PersistentVolumeClaim
	if spec == nil {
		return true
	}
	modes := children.AccessModes(o.registry)
	if (spec.ClaimName != "" || len(spec.AccessModes) == 0) && o.claim != nil {
		modes = o.claim.Spec.AccessModes // also of one that was kept
	}
	return slices.Contains(modes, corev1.ReadWriteMany)
}

// claimMissing says whether a claim that users bring is not there yet.
func claimMissing(o *observed) bool {
	spec := o.registry.Spec.Storage.PersistentVolumeClaim
	return spec != nil && spec.ClaimName != "" && o.claim == nil
}

// cannotGrow says why the volume of a claim cannot, or "".
func cannotGrow(o *observed) string {
	switch name := o.claim.Spec.StorageClassName; {
	case name == nil || *name == "":
		return "it has no StorageClass that could provide more"
	case o.class != nil && (o.class.AllowVolumeExpansion == nil || !*o.class.AllowVolumeExpansion):
		return fmt.Sprintf("its StorageClass %s does not allow that (allowVolumeExpansion)", *name)
	}
	return ""
}

// wantsToRequestMore says whether the spec asks for more than was asked of the claim so far.
func wantsToRequestMore(o *observed) bool {
	spec := o.registry.Spec.Storage.PersistentVolumeClaim
	if spec == nil || spec.Size == nil || spec.ClaimName != "" || o.claim == nil {
		return false
	}
	requested, ok := o.claim.Spec.Resources.Requests[corev1.ResourceStorage]
	return ok && spec.Size.Cmp(requested) > 0
}

// podsToResync finds pods that run with Secrets that have changed since. They get an annotation, after which the kubelet
// updates the pod's volumes at once.
func podsToResync(o *observed) map[*corev1.Pod]string {
	now := contentOf(o)
	resync := map[*corev1.Pod]string{}
	if now == "" {
		return resync
	}
	for i := range o.pods {
		pod := &o.pods[i]
		if pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning && pod.Annotations[children.AnnotationSecrets] != now {
			resync[pod] = now
		}
	}
	return resync
}

// Constructors of children pair what exists with what is wanted, and know how to read what we own of it.

func claimChild(live *corev1.PersistentVolumeClaim, want *corev1apply.PersistentVolumeClaimApplyConfiguration) child {
	keepClaim(want, live)
	return newChild("PersistentVolumeClaim", live, want, corev1apply.ExtractPersistentVolumeClaim)
}

func secretChild(live *corev1.Secret, want *corev1apply.SecretApplyConfiguration) child {
	keepSecret(want, live)
	return newChild("Secret", live, want, corev1apply.ExtractSecret)
}

func serviceChild(live *corev1.Service, want *corev1apply.ServiceApplyConfiguration) child {
	return newChild("Service", live, want, corev1apply.ExtractService)
}

func configMapChild(live *corev1.ConfigMap, want *corev1apply.ConfigMapApplyConfiguration) child {
	return newChild("ConfigMap", live, want, corev1apply.ExtractConfigMap)
}

func budgetChild(live *policyv1.PodDisruptionBudget, want *policyv1apply.PodDisruptionBudgetApplyConfiguration) child {
	return newChild("PodDisruptionBudget", live, want, policyv1apply.ExtractPodDisruptionBudget)
}

func deploymentChild(live *appsv1.Deployment, want *appsv1apply.DeploymentApplyConfiguration) child {
	return newChild("Deployment", live, want, appsv1apply.ExtractDeployment)
}
