package controllers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

func isTrueNow(r *v1alpha1.PackRegistry, kind string) bool {
	return meta.IsStatusConditionTrue(r.Status.Conditions, kind)
}

// checkConditions compares each condition with what it speaks of.
func (k *walk) checkConditions(r *v1alpha1.PackRegistry) (wrong []string) {
	if r == nil {
		return nil
	}
	same := func(kind string, is bool, because string) {
		if isTrueNow(r, kind) != is {
			wrong = append(wrong, fmt.Sprintf("%s is not %v (%s): %s", kind, is, because, said(r, kind)))
		}
	}
	_, trouble := k.expectedUsers(k.now, r)
	if !k.refused["secrets"] && !k.quota {
		same(v1alpha1.ConditionAuthReady, trouble == "", trouble)
	}
	if r.Spec.TLS.SelfSigned == nil && !k.refused["secrets"] && !k.refused["configmaps"] {
		trouble = k.certificateTrouble(k.now, r)
		same(v1alpha1.ConditionTLSReady, trouble == "", trouble)
	}
	d := find[*appsv1.Deployment](k.now, k.namespace, subject)
	ours := d != nil && (metav1.IsControlledBy(d, r) || metav1.GetControllerOf(d) == nil) // an orphan serves too
	same(v1alpha1.ConditionAvailable, ours && d.Status.AvailableReplicas > 0 && ptr.Deref(d.Spec.Replicas, 1) > 0, "of the Deployment")
	claim := find[*corev1.PersistentVolumeClaim](k.now, k.namespace, children.ClaimName(r))
	if r.Spec.Storage.PersistentVolumeClaim != nil && !k.refused["persistentvolumeclaims"] && !otherClaim(claim, r) {
		same(v1alpha1.ConditionStorageReady, claim != nil && claim.DeletionTimestamp == nil && claim.Status.Phase == corev1.ClaimBound, "of the claim")
	}
	if ours && (r.Status.Replicas != d.Status.Replicas || r.Status.ReadyReplicas != d.Status.ReadyReplicas) {
		wrong = append(wrong, fmt.Sprintf("status counts %d/%d replicas, and the Deployment %d/%d", r.Status.ReadyReplicas, r.Status.Replicas, d.Status.ReadyReplicas, d.Status.Replicas))
	}
	if isTrueNow(r, v1alpha1.ConditionStalled) && isTrueNow(r, v1alpha1.ConditionReconciling) {
		wrong = append(wrong, "both Stalled and Reconciling")
	}
	if isTrueNow(r, v1alpha1.ConditionStalled) && isTrueNow(r, v1alpha1.ConditionReady) {
		wrong = append(wrong, "both Stalled and Ready")
	}
	if !r.Spec.Suspend && k.second == nil && len(k.refused) == 0 && !otherClaim(claim, r) && !k.waitsForKeys(r) {
		same(v1alpha1.ConditionStalled, badConfig(r) || refusedSpec(r), "of the spec")
	}
	return wrong
}

// waitsForKeys says whether pods are not rendered for want of the bucket's keys, so that nothing of them can be refused.
func (k *walk) waitsForKeys(r *v1alpha1.PackRegistry) bool {
	s3 := r.Spec.Storage.S3
	if s3 == nil || s3.SecretRef == nil || badConfig(r) {
		return false
	}
	keys := find[*corev1.Secret](k.now, k.namespace, s3.SecretRef.Name)
	return keys == nil || len(keys.Data[secretAccessKey]) == 0
}

func said(r *v1alpha1.PackRegistry, kind string) string {
	c := meta.FindStatusCondition(r.Status.Conditions, kind)
	if c == nil {
		return "there is no such condition"
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

// isScaledElsewhere says whether the registry reports that somebody else has set the number of replicas.
func isScaledElsewhere(r *v1alpha1.PackRegistry) bool {
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAvailable)
	return c != nil && c.Reason == v1alpha1.ReasonScaledElsewhere
}

// checkReady: a registry that says it is ready runs as its spec says.
func (k *walk) checkReady(r *v1alpha1.PackRegistry) (wrong []string) {
	if r == nil || !isTrueNow(r, v1alpha1.ConditionReady) || r.Spec.Suspend {
		return nil
	}
	for _, part := range summedUp {
		if isTrueNow(r, part) {
			continue
		}
		c := meta.FindStatusCondition(r.Status.Conditions, part)
		if !isTrueNow(r, v1alpha1.ConditionDegraded) || !strings.Contains(said(r, v1alpha1.ConditionDegraded), c.Message) {
			wrong = append(wrong, part+" is not true: "+said(r, part))
		}
	}
	for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionReconciling} {
		if c := meta.FindStatusCondition(r.Status.Conditions, kind); c != nil {
			wrong = append(wrong, kind+" is there: "+said(r, kind))
		}
	}
	d := find[*appsv1.Deployment](k.now, k.namespace, subject)
	if d == nil {
		return append(wrong, "there is no Deployment")
	}
	if want := ptr.Deref(r.Spec.Replicas, 1); !isScaledElsewhere(r) && (ptr.Deref(d.Spec.Replicas, 1) != want || d.Status.AvailableReplicas != want) {
		wrong = append(wrong, fmt.Sprintf("%d replicas of %d answer, and the spec asks for %d", d.Status.AvailableReplicas, ptr.Deref(d.Spec.Replicas, 1), want))
	}
	images := map[string]bool{r.Spec.Image: r.Spec.Image != ""}
	if r.Spec.Image == "" {
		for _, o := range k.operators() {
			images[o.image] = true
		}
	}
	if image := d.Spec.Template.Spec.Containers[0].Image; !images[image] {
		wrong = append(wrong, "pods run the image "+image)
	}
	config := find[*corev1.Secret](k.now, k.namespace, subject+"-config-"+d.Spec.Template.Labels[children.LabelConfig])
	if config == nil {
		return append(wrong, "there is no configuration of the name that pods run with")
	}
	text := string(config.Data["config.yml"])
	if level := r.Spec.Log.Level; level != "" && !strings.Contains(text, "level: "+level) {
		wrong = append(wrong, "the configuration has not the log level "+level)
	}
	if _, set := r.Spec.Headers["X-Test"]; set != strings.Contains(text, "X-Test") {
		wrong = append(wrong, "the configuration has not the headers of the spec")
	}
	if s3 := r.Spec.Storage.S3; s3 != nil && s3.SecretRef != nil {
		keys := find[*corev1.Secret](k.now, k.namespace, s3.SecretRef.Name)
		if !strings.Contains(text, "bucket: "+s3.Bucket) {
			wrong = append(wrong, "the configuration has not the bucket of the spec")
		}
		// Keys that are gone or broken leave pods with the last good ones, and the registry degraded.
		good := isTrueNow(r, v1alpha1.ConditionStorageReady)
		if good && (keys == nil || !strings.Contains(string(config.Data["aws-credentials"]), string(keys.Data[secretAccessKey]))) {
			wrong = append(wrong, "the configuration has not the newest key of the bucket")
		}
	}
	return wrong
}

// checkLiveness: without an obstacle a registry becomes ready.
func (k *walk) checkLiveness(r *v1alpha1.PackRegistry) []string {
	if r == nil || len(k.obstacles(k.now)) > 0 || ptr.Deref(r.Spec.Replicas, 1) == 0 {
		return nil
	}
	if d := find[*appsv1.Deployment](k.now, k.namespace, subject); d != nil && ptr.Deref(d.Spec.Replicas, 1) == 0 {
		return nil // somebody scaled it so
	}
	if !isTrueNow(r, v1alpha1.ConditionReady) {
		return []string{said(r, v1alpha1.ConditionReady)}
	}
	return nil
}

// checkSuspended: of a suspended registry nothing changes but users, certificates and who owns the claim.
func (k *walk) checkSuspended(r *v1alpha1.PackRegistry) (wrong []string) {
	before := k.before.registry(k.namespace, subject)
	if r == nil || !r.Spec.Suspend || k.deleted != nil || before == nil || k.first.wire.isDead() {
		return nil
	}
	if then, err := decoded(before); err != nil || !then.Spec.Suspend {
		return nil
	}
	was := k.before.childrenNamed(k.namespace, subject)
	for key, o := range k.now.childrenNamed(k.namespace, subject) {
		switch key.kind {
		case "*v1.Deployment", "*v1.Service", "*v1.Ingress", "*v1.NetworkPolicy", "*v1.PodDisruptionBudget":
			if was[key] == nil {
				wrong = append(wrong, key.String()+" was made")
			}
		}
		if d, ok := o.(*appsv1.Deployment); ok && was[key] != nil {
			for _, entry := range d.ManagedFields {
				if entry.Manager == FieldOwner && entry.Time != nil && entry.Time.After(lastApply(was[key])) {
					wrong = append(wrong, key.String()+" was written")
				}
			}
		}
	}
	return wrong
}

// lastApply is when the operator last changed an object.
func lastApply(o metav1.Object) (last time.Time) {
	for _, entry := range o.GetManagedFields() {
		if entry.Manager == FieldOwner && entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

// checkRolls: pods are not made anew for a Secret's annotation, or a restart of the same release.
func (k *walk) checkRolls(r *v1alpha1.PackRegistry) []string {
	if r == nil || !k.quiet {
		return nil
	}
	before, now := find[*appsv1.Deployment](k.before, k.namespace, subject), find[*appsv1.Deployment](k.now, k.namespace, subject)
	if before != nil && now != nil && before.Generation != now.Generation {
		return []string{"the Deployment was changed"}
	}
	if k.before.registry(k.namespace, subject) != nil {
		was, is := childNames(k.before, k.namespace), childNames(k.now, k.namespace)
		if !slices.Equal(was, is) {
			return []string{fmt.Sprintf("children were %v, and are %v", was, is)}
		}
	}
	return nil
}

func childNames(w *world, namespace string) []string {
	var list []string
	for key := range maps.Keys(w.childrenNamed(namespace, subject)) {
		list = append(list, key.String())
	}
	slices.Sort(list)
	return list
}

// longestRetry is how long the operator may wait with its next try: what was in its way may have gone without an event.
const longestRetry = 2 * time.Minute

func (k *walk) checkWaits(*v1alpha1.PackRegistry) []string {
	if k.longest > longestRetry {
		return []string{fmt.Sprintf("the operator tries again only after %s", k.longest)}
	}
	return nil
}
