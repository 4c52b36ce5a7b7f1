package controllers

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"unique"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// finding is one condition in the making.
type finding struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func isTrue(reason, format string, args ...any) finding {
	return finding{metav1.ConditionTrue, reason, fmt.Sprintf(format, args...)}
}

func isFalse(reason, format string, args ...any) finding {
	return finding{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

// parts are the conditions that Ready sums up, in the order in which a reader should mend them.
var parts = []string{
	v1alpha1.ConditionStorageReady,
	v1alpha1.ConditionAuthReady,
	v1alpha1.ConditionTLSReady,
	v1alpha1.ConditionAvailable,
	v1alpha1.ConditionExposed,
}

// report computes the whole status from what was observed, decided and done. It is pure.
func report(o *observed, d decision, applyErr error) v1alpha1.PackRegistryStatus {
	r := o.registry
	status := *r.Status.DeepCopy()
	status.ObservedGeneration = r.Generation
	set := func(kind string, f finding) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: f.status, Reason: f.reason, Message: f.message, ObservedGeneration: r.Generation,
		})
	}
	if len(d.refused) > 0 {
		set(v1alpha1.ConditionReady, isFalse(v1alpha1.ReasonNotSupported, "%s", refusal(d.refused)))
		set(v1alpha1.ConditionStalled, isTrue(v1alpha1.ReasonNotSupported, "%s", refusal(d.refused)))
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionReconciling)
		return status
	}
	found := map[string]finding{
		v1alpha1.ConditionStorageReady: storageReady(o, d),
		v1alpha1.ConditionAuthReady:    authReady(o, d),
		v1alpha1.ConditionTLSReady:     tlsReady(d),
		v1alpha1.ConditionAvailable:    available(o),
	}
	status.URL = url(o)
	found[v1alpha1.ConditionExposed] = exposed(o, status.URL)
	for _, part := range parts {
		set(part, found[part])
	}
	describe(&status, o, d)

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
		set(v1alpha1.ConditionReconciling, finding{metav1.ConditionTrue, ready.reason, ready.message})
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionReconciling)
	}
	return status
}

func refusal(fields []string) string {
	return "this version of the operator cannot do yet: " + strings.Join(fields, ", ") + "; remove the field, or use a newer operator"
}

// describe fills in what is no condition.
func describe(status *v1alpha1.PackRegistryStatus, o *observed, d decision) {
	r := o.registry
	status.Selector = labels.SelectorFromSet(children.Selector(r)).String()
	status.Storage = "InMemory"
	switch {
	case r.Spec.Storage.PersistentVolumeClaim != nil:
		status.Storage = "PersistentVolumeClaim/" + children.ClaimName(r)
	case r.Spec.Storage.S3 != nil:
		status.Storage = "S3/" + r.Spec.Storage.S3.Bucket
	}
	status.Replicas, status.ReadyReplicas = 0, 0
	if o.deployment != nil {
		status.Replicas, status.ReadyReplicas = o.deployment.Status.Replicas, o.deployment.Status.ReadyReplicas
		status.Image = imageOf(o.deployment)
	}
	status.Certificate = nil
	if leaf := d.certificate.leaf; leaf != nil {
		notAfter := metav1.NewTime(leaf.NotAfter)
		status.Certificate = &v1alpha1.CertificateStatus{NotAfter: &notAfter, DNSNames: leaf.DNSNames, Issuer: leaf.Issuer.String()}
	}
}

// summarize is the Ready condition. A generation that is not rolled out yet is Unknown; one that was stays True as long
// as enough replicas answer.
func summarize(o *observed, d decision, found map[string]finding, applyErr error) finding {
	if s := stalledBy(o, d); s != nil {
		return isFalse(s.reason, "%s", s.message)
	}
	if applyErr != nil {
		return isFalse(v1alpha1.ReasonReconcileFailed, "%v; trying again", applyErr)
	}
	// What somebody must mend comes before what is still on its way, which may be waiting for just that.
	for _, part := range parts[:3] {
		if f := found[part]; f.status == metav1.ConditionFalse {
			return isFalse(f.reason, "%s", f.message)
		}
	}
	for _, part := range parts {
		f := found[part]
		if f.status == metav1.ConditionTrue {
			continue
		}
		if f.status == metav1.ConditionUnknown || part == v1alpha1.ConditionAvailable && rollingOut(o) {
			return finding{metav1.ConditionUnknown, f.reason, f.message}
		}
		return isFalse(f.reason, "%s", f.message)
	}
	previous := meta.FindStatusCondition(o.registry.Status.Conditions, v1alpha1.ConditionReady)
	settled := previous != nil && previous.Status == metav1.ConditionTrue && previous.ObservedGeneration == o.registry.Generation
	if !settled && rollingOut(o) && !o.registry.Spec.Suspend {
		return finding{metav1.ConditionUnknown, v1alpha1.ReasonRollingOut, rolloutMessage(o.deployment)}
	}
	if o.registry.Spec.Suspend {
		return isTrue(v1alpha1.ReasonSuspended, "the registry goes on as it is; the operator changes nothing until spec.suspend is false")
	}
	return isTrue(v1alpha1.ReasonReady, "the registry serves packs")
}

// stalledBy says why only a person can help, or returns nil.
func stalledBy(o *observed, d decision) *finding {
	switch {
	case d.conflict != "":
		return &finding{metav1.ConditionTrue, v1alpha1.ReasonConflict, d.conflict}
	case d.invalid != "":
		return &finding{metav1.ConditionTrue, v1alpha1.ReasonInvalid, d.invalid}
	case o.deployment != nil:
		c := deploymentCondition(o.deployment, appsv1.DeploymentProgressing)
		if c != nil && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded" {
			return &finding{metav1.ConditionTrue, v1alpha1.ReasonDeadlineExceeded, podTrouble(o, "the new pods did not become ready in time")}
		}
	}
	return nil
}

// bucketReady says whether everything is there that it takes to use the bucket. Whether the bucket answers is the
// registry's to say, by its readiness.
func bucketReady(spec *v1alpha1.S3Spec, b bucketState) finding {
	switch {
	case b.missing != "":
		return isFalse(v1alpha1.ReasonSecretMissing, "%s", b.missing)
	case b.invalid != "":
		return isFalse(v1alpha1.ReasonSecretInvalid, "%s", b.invalid)
	}
	at := "AWS"
	if spec.Endpoint != "" {
		at = spec.Endpoint
	}
	return isTrue(v1alpha1.ReasonBucketConfigured, "packs are kept in bucket %s at %s", spec.Bucket, at)
}

func storageReady(o *observed, d decision) finding {
	if s3 := o.registry.Spec.Storage.S3; s3 != nil {
		return bucketReady(s3, d.bucket)
	}
	spec := o.registry.Spec.Storage.PersistentVolumeClaim
	if spec == nil {
		return isTrue(v1alpha1.ReasonEphemeral, "packs are kept in memory, and lost when the pod ends")
	}
	name := children.ClaimName(o.registry)
	switch {
	case o.claim == nil && spec.ClaimName != "":
		return isFalse(v1alpha1.ReasonClaimMissing, "PersistentVolumeClaim %s does not exist; create it, or let the operator make one (size instead of claimName)", name)
	case o.claim == nil:
		return finding{metav1.ConditionUnknown, v1alpha1.ReasonProgressing, fmt.Sprintf("PersistentVolumeClaim %s is being made", name)}
	case o.claim.DeletionTimestamp != nil:
		return isFalse(v1alpha1.ReasonClaimLost, "PersistentVolumeClaim %s is being deleted", name)
	case o.claim.Status.Phase == corev1.ClaimBound && wantsToGrow(o):
		return growing(o)
	case o.claim.Status.Phase == corev1.ClaimBound && nearlyFull(o):
		return isFalse(v1alpha1.ReasonNearlyFull, "PersistentVolumeClaim %s is more than %d%% full, and pushes will soon be refused: let it grow (spec.storage.persistentVolumeClaim.size), or delete packs", name, nearlyFullTill)
	case o.claim.Status.Phase == corev1.ClaimBound:
		return isTrue(v1alpha1.ReasonClaimBound, "PersistentVolumeClaim %s is bound", name)
	case o.claim.Status.Phase == corev1.ClaimLost:
		return isFalse(v1alpha1.ReasonClaimLost, "PersistentVolumeClaim %s has lost its volume", name)
	}
	return finding{metav1.ConditionUnknown, v1alpha1.ReasonClaimPending, fmt.Sprintf("PersistentVolumeClaim %s waits for a volume", name)}
}

// growing says how the growth of a claim goes. The registry serves meanwhile, so all but a refusal is well.
func growing(o *observed) finding {
	name, size := o.claim.Name, o.registry.Spec.Storage.PersistentVolumeClaim.Size
	if why := cannotGrow(o); why != "" {
		return isFalse(v1alpha1.ReasonCannotGrow, "PersistentVolumeClaim %s cannot grow to %s: %s", name, size, why)
	}
	for _, c := range o.claim.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == corev1.PersistentVolumeClaimControllerResizeError || c.Type == corev1.PersistentVolumeClaimNodeResizeError) {
			return isFalse(v1alpha1.ReasonCannotGrow, "PersistentVolumeClaim %s did not grow to %s: %s", name, size, clip(c.Message))
		}
	}
	return isTrue(v1alpha1.ReasonResizing, "PersistentVolumeClaim %s is bound, and growing to %s", name, size)
}

func authReady(o *observed, d decision) finding {
	if len(o.registry.Spec.Auth.SecretRefs) == 0 {
		return isTrue(v1alpha1.ReasonAnonymous, "everybody may pull, and nobody push")
	}
	if d.users.ok() {
		message := "the users are known"
		if len(d.users.duplicates) > 0 {
			message += "; in several Secrets, of which the first holds: " + strings.Join(d.users.duplicates, ", ")
		}
		return isTrue(v1alpha1.ReasonUsersKnown, "%s", message)
	}
	wrong := strings.Join(append(append([]string(nil), d.users.missing...), d.users.invalid...), "; ")
	switch {
	case o.users != nil:
		return isFalse(v1alpha1.ReasonLastGoodUsers, "%s; the users known before stay", wrong)
	case len(d.users.missing) > 0:
		return isFalse(v1alpha1.ReasonSecretMissing, "%s", wrong)
	}
	return isFalse(v1alpha1.ReasonSecretInvalid, "%s", wrong)
}

func tlsReady(d decision) finding {
	if d.certificate.ok() {
		return isTrue(d.certificate.reason, "%s", d.certificate.message)
	}
	return isFalse(d.certificate.reason, "%s", d.certificate.message)
}

func deploymentCondition(live *appsv1.Deployment, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range live.Status.Conditions {
		if live.Status.Conditions[i].Type == kind {
			return &live.Status.Conditions[i]
		}
	}
	return nil
}

// available reads the Deployment's own judgement.
func available(o *observed) finding {
	if o.deployment == nil {
		return isFalse(v1alpha1.ReasonProgressing, "the registry was not started yet")
	}
	if replicas := o.deployment.Spec.Replicas; replicas != nil && *replicas == 0 {
		return isFalse(v1alpha1.ReasonScaledToZero, "spec.replicas is 0: nothing serves")
	}
	if c := deploymentCondition(o.deployment, appsv1.DeploymentReplicaFailure); c != nil && c.Status == corev1.ConditionTrue {
		return isFalse(v1alpha1.ReasonReplicaFailure, "pods cannot be made: %s", c.Message)
	}
	c := deploymentCondition(o.deployment, appsv1.DeploymentAvailable)
	if c != nil && c.Status == corev1.ConditionTrue && o.deployment.Status.AvailableReplicas > 0 {
		return isTrue(v1alpha1.ReasonMinimumAvailable, "%d of %d replicas answer", o.deployment.Status.AvailableReplicas, o.deployment.Status.Replicas)
	}
	return isFalse(v1alpha1.ReasonRollingOut, "%s", podTrouble(o, rolloutMessage(o.deployment)))
}

// rollingOut says whether the Deployment has not caught up with its spec.
func rollingOut(o *observed) bool {
	if o.deployment == nil {
		return true
	}
	live := o.deployment
	want := int32(1)
	if live.Spec.Replicas != nil {
		want = *live.Spec.Replicas
	}
	return live.Status.ObservedGeneration < live.Generation || live.Status.UpdatedReplicas < want ||
		live.Status.Replicas > live.Status.UpdatedReplicas || live.Status.AvailableReplicas < want
}

func rolloutMessage(live *appsv1.Deployment) string {
	return fmt.Sprintf("%d of %d replicas are up to date, %d answer", live.Status.UpdatedReplicas, live.Status.Replicas, live.Status.AvailableReplicas)
}

// podTrouble adds what keeps a pod from starting, if one says so.
func podTrouble(o *observed, message string) string {
	for _, pod := range o.pods {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message != "" {
				return fmt.Sprintf("%s; pod %s cannot be scheduled: %s", message, pod.Name, c.Message)
			}
		}
		for _, c := range pod.Status.ContainerStatuses {
			switch {
			case c.State.Waiting != nil && c.State.Waiting.Message != "":
				text := c.State.Waiting.Message
				if last := c.LastTerminationState.Terminated; last != nil && last.Message != "" {
					text = last.Message
				}
				return fmt.Sprintf("%s; pod %s: %s: %s", message, pod.Name, c.State.Waiting.Reason, clip(text))
			case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
				return fmt.Sprintf("%s; pod %s ended: %s", message, pod.Name, clip(c.State.Terminated.Message))
			case !c.Ready && c.LastTerminationState.Terminated != nil && c.LastTerminationState.Terminated.Message != "":
				return fmt.Sprintf("%s; pod %s tries again, and ended before: %s", message, pod.Name, clip(c.LastTerminationState.Terminated.Message))
			}
		}
	}
	return message
}

// clip bounds words that come from elsewhere: conditions are for reading.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 500 {
		s = s[:500] + "…"
	}
	return s
}

// url is an address that clients can use now, or "".
func url(o *observed) string {
	r := o.registry
	if o.service == nil {
		return ""
	}
	scheme, port, usual := "https", children.ServicePort(r), int32(443)
	if !children.ServesTLS(r) {
		scheme, usual = "http", 80
	}
	host := ""
	if len(r.Spec.Hosts) > 0 {
		host = r.Spec.Hosts[0]
	}
	switch o.service.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		ingress := o.service.Status.LoadBalancer.Ingress
		if len(ingress) == 0 {
			return ""
		}
		if host == "" {
			host = ingress[0].Hostname + ingress[0].IP
		}
	case corev1.ServiceTypeNodePort:
		if host == "" || len(o.service.Spec.Ports) == 0 || o.service.Spec.Ports[0].NodePort == 0 {
			return ""
		}
		port = o.service.Spec.Ports[0].NodePort
	default:
		host = fmt.Sprintf("%s.%s.svc", o.service.Name, o.service.Namespace)
	}
	if port != usual {
		host = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	return scheme + "://" + host
}

func exposed(o *observed, url string) finding {
	if url != "" {
		return isTrue(v1alpha1.ReasonAddressAssigned, "clients reach the registry at %s", url)
	}
	if o.service == nil {
		return finding{metav1.ConditionUnknown, v1alpha1.ReasonProgressing, "the Service is being made"}
	}
	if o.service.Spec.Type == corev1.ServiceTypeNodePort {
		return isTrue(v1alpha1.ReasonAddressAssigned, "every node serves the Service's port; name one in spec.hosts for a URL")
	}
	return isFalse(v1alpha1.ReasonAddressPending, "Service %s waits for the address of a load balancer", o.service.Name)
}

// writeStatus applies the status if it differs, and tells of transitions by events.
func (r *Reconciler) writeStatus(ctx context.Context, o *observed, status v1alpha1.PackRegistryStatus) error {
	if equality.Semantic.DeepEqual(o.registry.Status, status) {
		return nil
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status)
	if err != nil {
		return err
	}
	intent := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	intent.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PackRegistry"))
	intent.SetName(o.registry.Name)
	intent.SetNamespace(o.registry.Namespace)
	if err := r.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(intent),
		client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.tellTransitions(o.registry, status)
	return nil
}

// tellTransitions makes an event of each condition that became another. What is only under way, and what was well from
// the beginning, is no event.
func (r *Reconciler) tellTransitions(registry *v1alpha1.PackRegistry, status v1alpha1.PackRegistryStatus) {
	known := outlineOf(registry.Status.Conditions)
	last, found := r.told.Swap(client.ObjectKeyFromObject(registry), toldConditions{registry.UID, outlineOf(status.Conditions)})
	if t, ok := last.(toldConditions); found && ok && t.uid == registry.UID {
		known = t.conditions
	}
	for _, now := range status.Conditions {
		var before *outline
		if i := slices.IndexFunc(known, func(o outline) bool { return o.kind == now.Type }); i >= 0 {
			before = &known[i]
		}
		if before != nil && before.status == now.Status && before.reason == now.Reason {
			continue
		}
		kind := corev1.EventTypeNormal
		switch {
		case now.Type == v1alpha1.ConditionReconciling, now.Status == metav1.ConditionUnknown, underWay[now.Reason]:
			continue
		case now.Type == v1alpha1.ConditionReady && now.Status == metav1.ConditionFalse:
			continue // the part that failed says so, or Stalled does
		case now.Type == v1alpha1.ConditionStalled || now.Status == metav1.ConditionFalse:
			kind = corev1.EventTypeWarning
		case now.Type != v1alpha1.ConditionReady && (before == nil || before.status != metav1.ConditionFalse || underWay[before.reason]):
			continue
		}
		r.Recorder.Eventf(registry, nil, kind, now.Reason, now.Type, "%s", now.Message)
	}
}

// toldConditions are the conditions of one object that events have told.
type toldConditions struct {
	uid        types.UID
	conditions []outline
}

// outline is what makes a condition another one: thousands of them are kept, without their messages.
type outline struct {
	kind   string
	status metav1.ConditionStatus
	reason string
}

func outlineOf(conditions []metav1.Condition) []outline {
	outlines := make([]outline, len(conditions))
	for i, c := range conditions {
		outlines[i] = outline{unique.Make(c.Type).Value(), unique.Make(c.Status).Value(), unique.Make(c.Reason).Value()}
	}
	return outlines
}

// underWay are reasons that go away by themselves.
var underWay = map[string]bool{
	v1alpha1.ReasonProgressing: true, v1alpha1.ReasonRollingOut: true,
	v1alpha1.ReasonClaimPending: true, v1alpha1.ReasonAddressPending: true,
}
