package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	v1alpha1apply "packregistry.dev/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// condition is what a condition of the status says, without when it began.
type condition struct {
	status  metav1.ConditionStatus
	reason  string
	message string
	// degraded: somebody must see to it, and clients are served all the same.
	degraded bool
}

func isTrue(reason, format string, args ...any) condition {
	return condition{status: metav1.ConditionTrue, reason: reason, message: fmt.Sprintf(format, args...)}
}

func isFalse(reason, format string, args ...any) condition {
	return condition{status: metav1.ConditionFalse, reason: reason, message: fmt.Sprintf(format, args...)}
}

func isUnknown(reason, format string, args ...any) condition {
	return condition{status: metav1.ConditionUnknown, reason: reason, message: fmt.Sprintf(format, args...)}
}

// butServes marks a fault that clients do not notice.
func (f condition) butServes(serves bool) condition {
	f.degraded = serves
	return f
}

// summedUp are the conditions that Ready sums up, in the order in which a reader should mend them.
var summedUp = []string{
	v1alpha1.ConditionStorageReady,
	v1alpha1.ConditionAuthReady,
	v1alpha1.ConditionTLSReady,
	v1alpha1.ConditionAvailable,
	v1alpha1.ConditionExposed,
}

// report computes the whole status from what was observed, decided and done. It is pure.
func report(o *observed, d decision, applyErr error) v1alpha1.PackRegistryStatus {
	d.certificate = d.shownCertificate(o)
	r := o.registry
	status := *r.Status.DeepCopy()
	status.ObservedGeneration = r.Generation
	set := func(kind string, f condition) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: f.status, Reason: f.reason, Message: cut(f.message, messageBytes), ObservedGeneration: r.Generation,
		})
	}
	found := map[string]condition{
		v1alpha1.ConditionStorageReady: storageReady(o, d),
		v1alpha1.ConditionAuthReady:    authReady(o, d),
		v1alpha1.ConditionTLSReady:     tlsReady(o, d),
		v1alpha1.ConditionAvailable:    available(o),
	}
	status.URL = url(o)
	found[v1alpha1.ConditionExposed] = exposed(o, status.URL)
	saidBefore := certificateAsReported(o, d)
	if saidBefore != nil {
		found[v1alpha1.ConditionTLSReady] = *saidBefore
	}
	withRefusals(found, d.refused)
	for _, part := range summedUp {
		set(part, found[part])
	}
	describe(&status, o, d)
	if saidBefore != nil {
		status.Certificate = r.Status.Certificate
	}

	ready := summarize(o, d, found, applyErr)
	set(v1alpha1.ConditionReady, ready)
	stalled, waiting := stalledBy(o, d), ready.status != metav1.ConditionTrue
	if stalled != nil {
		set(v1alpha1.ConditionStalled, *stalled)
		waiting = false
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
	}
	if waiting && !r.Spec.Suspend {
		set(v1alpha1.ConditionReconciling, isTrue(ready.reason, "%s", ready.message))
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionReconciling)
	}
	if degraded := degradedBy(found, applyErr); degraded != nil && ready.status == metav1.ConditionTrue {
		set(v1alpha1.ConditionDegraded, *degraded)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionDegraded)
	}
	return status
}

// certificateAsReported is what was reported of a certificate that only a pod knows, where it has not answered an operator that has
// just started: the same, as a rule, as it will answer. It is nil where something else is known, or nothing was reported.
func certificateAsReported(o *observed, d decision) *condition {
	c := meta.FindStatusCondition(o.registry.Status.Conditions, v1alpha1.ConditionTLSReady)
	if !o.unanswered[probeCertificate] || d.waitsFor != "" || c == nil || c.ObservedGeneration != o.registry.Generation {
		return nil
	}
	return &condition{status: c.Status, reason: c.Reason, message: c.Message, degraded: c.Reason == v1alpha1.ReasonExpiresSoon}
}

// degradedBy joins what needs attention though clients are served, or returns nil.
func degradedBy(found map[string]condition, applyErr error) *condition {
	var messages []string
	reason := ""
	for _, part := range summedUp {
		if f := found[part]; f.degraded {
			reason, messages = cmp.Or(reason, f.reason), append(messages, f.message)
		}
	}
	if applyErr != nil {
		reason, messages = cmp.Or(reason, v1alpha1.ReasonReconcileFailed), append(messages, tryingAgain(applyErr))
	}
	if reason == "" {
		return nil
	}
	return &condition{status: metav1.ConditionTrue, reason: reason, message: strings.Join(messages, "; ")}
}

// wasReady says whether this generation has been ready before.
func wasReady(r *v1alpha1.PackRegistry) bool {
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == r.Generation
}

// tryingAgain says what failed, in the same words each time.
func tryingAgain(err error) string { return clip(withoutAddresses(err)) + "; trying again" }

// shownNames is how many names of a certificate, which may be for thousands, a status shows.
const shownNames = 100

// describe fills in what is no condition.
func describe(status *v1alpha1.PackRegistryStatus, o *observed, d decision) {
	r := o.registry
	if o.operator != nil {
		status.Operator = o.operator
	}
	status.Selector = labels.SelectorFromSet(children.Selector(r)).String()
	status.Storage = "InMemory"
	switch {
	case r.Spec.Storage.PersistentVolumeClaim != nil:
		status.Storage = "PersistentVolumeClaim/" + children.ClaimName(r)
	case r.Spec.Storage.S3 != nil:
		status.Storage = "S3/" + r.Spec.Storage.S3.Bucket
	}
	status.AppliedGeneration = appliedGeneration(o)
	if d.applied {
		status.AppliedGeneration = r.Generation
	}
	status.Replicas, status.ReadyReplicas = 0, 0
	if o.deployment != nil {
		status.Replicas, status.ReadyReplicas = o.deployment.Status.Replicas, o.deployment.Status.ReadyReplicas
		status.Image = imageOf(o.deployment)
	}
	status.Capacity, status.Used = volumeUsage(o)
	status.Addresses = addresses(o)
	status.Certificate = nil
	if leaf := d.certificate.leaf; leaf != nil {
		notAfter := metav1.NewTime(leaf.NotAfter)
		status.Certificate = &v1alpha1.CertificateStatus{NotAfter: &notAfter, DNSNames: leaf.DNSNames[:min(len(leaf.DNSNames), shownNames)], Issuer: clip(leaf.Issuer.String())}
		for _, ip := range leaf.IPAddresses[:min(len(leaf.IPAddresses), shownNames)] {
			status.Certificate.IPAddresses = append(status.Certificate.IPAddresses, ip.String())
		}
	}
}

// summarize is the Ready condition. A generation that is not rolled out yet is Unknown; one that was stays True as long
// as enough replicas answer.
func summarize(o *observed, d decision, found map[string]condition, applyErr error) condition {
	if s := stalledBy(o, d); s != nil {
		return isFalse(s.reason, "%s", s.message)
	}
	settled := wasReady(o.registry)
	if applyErr != nil && !settled {
		return isFalse(v1alpha1.ReasonReconcileFailed, "%s", tryingAgain(applyErr))
	}
	if f := worst(d.refused, false); f != nil {
		return isFalse(f.reason, "%s", f.message)
	}
	// What somebody must mend comes before what is still on its way, which may be waiting for just that.
	for _, part := range summedUp[:3] {
		if f := found[part]; f.status == metav1.ConditionFalse && !f.degraded {
			return isFalse(f.reason, "%s", f.message)
		}
	}
	for _, part := range summedUp {
		f := found[part]
		if f.status == metav1.ConditionTrue || f.degraded {
			continue
		}
		if f.status == metav1.ConditionUnknown || part == v1alpha1.ConditionAvailable && rollingOut(o) {
			return isUnknown(f.reason, "%s", f.message)
		}
		return isFalse(f.reason, "%s", f.message)
	}
	if !settled && rollingOut(o) && !o.registry.Spec.Suspend {
		return isUnknown(v1alpha1.ReasonRollingOut, "%s", rolloutMessage(o.deployment))
	}
	if o.registry.Spec.Suspend {
		return isTrue(v1alpha1.ReasonSuspended, "the registry goes on as it is: the operator keeps users, certificates and the deletion policy up to date, and changes nothing else until spec.suspend is false")
	}
	if d.slotWait != "" {
		return isTrue(v1alpha1.ReasonReady, "the registry serves packs; %s", d.slotWait)
	}
	return isTrue(v1alpha1.ReasonReady, "the registry serves packs")
}

// stalledBy says why only a person can help, or returns nil.
func stalledBy(o *observed, d decision) *condition {
	switch {
	case d.conflict != "":
		return &condition{status: metav1.ConditionTrue, reason: v1alpha1.ReasonConflict, message: d.conflict}
	case d.invalid != "":
		return &condition{status: metav1.ConditionTrue, reason: v1alpha1.ReasonInvalid, message: d.invalid}
	}
	if d.notAllowed != "" {
		return &condition{status: metav1.ConditionTrue, reason: v1alpha1.ReasonNotAllowed, message: d.notAllowed}
	}
	if refused := worst(d.refused, true); refused != nil {
		return refused
	}
	if o.deployment != nil {
		c := deploymentCondition(o.deployment, appsv1.DeploymentProgressing)
		if c != nil && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded" {
			return &condition{status: metav1.ConditionTrue, reason: v1alpha1.ReasonDeadlineExceeded, message: podTrouble(o, "the new pods did not become ready in time")}
		}
	}
	return nil
}

// writeStatus applies the status if it differs, and records transitions as events.
func (r *Reconciler) writeStatus(ctx context.Context, o *observed, status v1alpha1.PackRegistryStatus, refused []refusal) error {
	if equality.Semantic.DeepEqual(o.registry.Status, status) {
		return nil
	}
	intent, err := applyStatus(status)
	if err != nil {
		return err
	}
	registry := v1alpha1apply.PackRegistry(o.registry.Name, o.registry.Namespace).WithStatus(intent)
	before := meta.FindStatusCondition(o.registry.Status.Conditions, v1alpha1.ConditionStalled)
	if o.registry.DecodeError == "" && before != nil && strings.Contains(before.Message, storedUnreadable) {
		// What a patch has added no apply takes away: all of it goes first.
		if err := r.patchStatus(ctx, o.registry, v1alpha1.PackRegistryStatus{}); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	err = r.Status().Apply(ctx, &appliedStatus{registry}, client.FieldOwner(FieldOwner), client.ForceOwnership)
	if err != nil && o.registry.DecodeError != "" && !apierrors.IsNotFound(err) {
		// Nothing can be applied to an object that has a value where its schema has an object. If an API server checks all of an
		// object at each change, it takes no status of this one at all: an event is what is left.
		err = r.patchStatus(ctx, o.registry, status)
		r.recordTransitions(o.registry, status, refused)
		if apierrors.IsInvalid(err) {
			return nil // trying again mends nothing, and a change of the spec is looked at in any case
		}
		return client.IgnoreNotFound(err)
	}
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	r.recordTransitions(o.registry, status, refused)
	return nil
}

// storedUnreadable is in the message about a spec that is stored in another form than its type has.
const storedUnreadable = "cannot be read as it is stored"

// patchStatus writes a status by a merge patch, to the version of the object that was read: what it leaves must be in every later version
// that is read from the cache, or the reconcile after it would not know that something is to be taken away.
func (r *Reconciler) patchStatus(ctx context.Context, registry *v1alpha1.PackRegistry, status v1alpha1.PackRegistryStatus) error {
	fields := map[string]any{}
	for i, s := range []v1alpha1.PackRegistryStatus{registry.Status, status} {
		data, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, &fields); err != nil {
			return err
		}
		for key := range fields {
			if i == 0 {
				fields[key] = nil // goes, unless it is there again
			}
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": registry.UID, "resourceVersion": registry.ResourceVersion}, "status": fields})
	if err != nil {
		return err
	}
	into := &v1alpha1.PackRegistry{ObjectMeta: metav1.ObjectMeta{Namespace: registry.Namespace, Name: registry.Name}}
	return r.Status().Patch(ctx, into, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(FieldOwner))
}

// appliedStatus is a PackRegistry of which the status is applied. The API server answers with the whole object, which is not
// decoded: a spec that is stored in a form that the types cannot hold would make an error of a status that was written.
type appliedStatus struct {
	*v1alpha1apply.PackRegistryApplyConfiguration
}

// UnmarshalJSON leaves the answer alone.
func (*appliedStatus) UnmarshalJSON([]byte) error { return nil }

// applyStatus is a status as it is applied: the same JSON. What is absent is nobody's, and goes.
func applyStatus(status v1alpha1.PackRegistryStatus) (*v1alpha1apply.PackRegistryStatusApplyConfiguration, error) {
	data, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	intent := v1alpha1apply.PackRegistryStatus()
	return intent, json.Unmarshal(data, intent)
}
