package controllers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file says what must hold whenever nothing moves. It asks the world and the spec, not the operator's own decisions.

// invariants are checked after each step, in this order.
var invariants = []struct {
	name  string
	check func(k *walk, r *v1alpha1.PackRegistry) []string
}{
	{"what the spec says of deletion holds", (*walk).checkDeletion},
	{"the status is of this spec", (*walk).checkObserved},
	{"users are the newest good ones", (*walk).checkUsers},
	{"pods have read their Secrets", (*walk).checkPods},
	{"the certificate is good", (*walk).checkCertificate},
	{"nothing that is unused is left", (*walk).checkUnused},
	{"conditions are true of the world", (*walk).checkConditions},
	{"ready means that it is as the spec says", (*walk).checkReady},
	{"where nothing is wrong it becomes ready", (*walk).checkLiveness},
	{"a suspended registry is left alone", (*walk).checkSuspended},
	{"nothing rolls without need", (*walk).checkRolls},
	{"every other registry is untouched", (*walk).checkBystanders},
	{"no secret is shown", (*walk).checkSecrecy},
	{"waits are bounded", (*walk).checkWaits},
}

// check returns what does not hold after a step.
func (k *walk) check(s step) error {
	switch s.Do {
	case "restart", "second", "mend", "allow", "quota":
		k.takeBystanders() // another release may roll them, and what was refused to it may come now
	}
	var r *v1alpha1.PackRegistry
	if u := k.now.registry(k.namespace, subject); u != nil && u.GetDeletionTimestamp() == nil {
		var err error
		if r, err = decoded(u); err != nil {
			r = nil // nothing can be said of it
		}
	}
	for _, i := range invariants {
		if wrong := i.check(k, r); len(wrong) > 0 {
			return fmt.Errorf("%s: %s", i.name, strings.Join(wrong, "; "))
		}
	}
	return nil
}

// obstacles are what keeps the operator from making a registry what its spec says.
func (k *walk) obstacles(w *world) []string {
	u := w.registry(k.namespace, subject)
	if u == nil {
		return []string{"there is none"}
	}
	r, err := decoded(u)
	if err != nil {
		return []string{"it cannot be decoded"}
	}
	var list []string
	add := func(is bool, what string) {
		if is {
			list = append(list, what)
		}
	}
	add(r.Spec.Suspend, "suspended")
	add(badConfig(r), "config")
	add(k.first.wire.isDead(), "dead")
	add(k.quota, "quota")
	for kind := range k.refused {
		add(true, "refused "+kind)
	}
	add(refusedSpec(r), "refused spec")
	add(k.second != nil, "two operators")
	_, wrong := k.expectedUsers(w, r)
	add(wrong != "", "users: "+wrong)
	add(k.certificateTrouble(w, r) != "", "certificate")
	if s3 := r.Spec.Storage.S3; s3 != nil && s3.SecretRef != nil {
		keys := find[*corev1.Secret](w, k.namespace, s3.SecretRef.Name)
		add(keys == nil || len(keys.Data[secretAccessKey]) == 0, "keys")
	}
	claim := find[*corev1.PersistentVolumeClaim](w, k.namespace, children.ClaimName(r))
	add(claim != nil && claim.DeletionTimestamp != nil, "claim is being deleted")
	add(otherClaim(claim, r), "claim of another class or mode")
	return list
}

func badConfig(r *v1alpha1.PackRegistry) bool {
	return r.Spec.Config != nil && bytes.Contains(r.Spec.Config.Raw, []byte(`"addr"`))
}

// otherClaim says whether a claim that was kept is not what the spec asks for in so many words. What a spec leaves out fits
// any claim.
func otherClaim(claim *corev1.PersistentVolumeClaim, r *v1alpha1.PackRegistry) bool {
	spec := r.Spec.Storage.PersistentVolumeClaim
	return claim != nil && spec != nil && (len(spec.AccessModes) > 0 && !slices.Equal(spec.AccessModes, claim.Spec.AccessModes) ||
		spec.StorageClassName != nil && *spec.StorageClassName != ptr.Deref(claim.Spec.StorageClassName, ""))
}

// refusedSpec says whether the API server will refuse a child for good.
func refusedSpec(r *v1alpha1.PackRegistry) bool {
	service, resources := r.Spec.Service, r.Spec.Pod.Resources
	request, limit := resources.Requests[corev1.ResourceCPU], resources.Limits[corev1.ResourceCPU]
	return r.Spec.NetworkPolicy != nil && r.Spec.NetworkPolicy.Enabled && len(r.Spec.NetworkPolicy.Ingress) > 0 || // with a port that there is none of

		service.NodePort == 80 || len(resources.Limits) > 0 && request.Cmp(limit) > 0
}

func (k *walk) checkDeletion(*v1alpha1.PackRegistry) (wrong []string) {
	d := k.deleted
	if d == nil || d.claim == nil || d.claim.DeletionTimestamp != nil {
		return nil
	}
	claim := find[*corev1.PersistentVolumeClaim](k.now, k.namespace, d.claim.Name)
	there := claim != nil && claim.UID == d.claim.UID && claim.DeletionTimestamp == nil
	switch {
	case d.kept && !there:
		return []string{"the claim with the packs went with its registry, though deletionPolicy is Retain"}
	case !d.kept && d.certain && !d.orphans && there:
		return []string{"the claim is still there, though deletionPolicy is Delete"}
	}
	return nil
}

func (k *walk) checkObserved(r *v1alpha1.PackRegistry) (wrong []string) {
	if r == nil {
		return nil
	}
	if r.Status.ObservedGeneration != r.Generation {
		wrong = append(wrong, fmt.Sprintf("observedGeneration is %d, and the generation %d", r.Status.ObservedGeneration, r.Generation))
	}
	for _, c := range r.Status.Conditions {
		if c.ObservedGeneration != r.Generation {
			wrong = append(wrong, fmt.Sprintf("%s is of generation %d, and the spec of %d", c.Type, c.ObservedGeneration, r.Generation))
		}
	}
	return wrong
}

// checkUnused compares what has the registry's labels with what its spec asks for.
func (k *walk) checkUnused(r *v1alpha1.PackRegistry) (wrong []string) {
	there := k.now.childrenNamed(k.namespace, subject)
	if r == nil {
		if k.now.registry(k.namespace, subject) != nil {
			return nil
		}
		for key, o := range there {
			if k.orphaned && metav1.GetControllerOf(o) == nil || k.ofOrphan(o) {
				continue
			}
			if key.kind != "*v1.PersistentVolumeClaim" && key.name != subject+"-registry-ca" {
				wrong = append(wrong, key.String()+" outlived its registry")
			}
		}
		return wrong
	}
	claim := find[*corev1.PersistentVolumeClaim](k.now, k.namespace, children.ClaimName(r))
	if r.Spec.Suspend || badConfig(r) || otherClaim(claim, r) || k.second != nil {
		return nil
	}
	wanted := k.wanted(r)
	used := map[string]bool{}
	for _, set := range all[*appsv1.ReplicaSet](k.now) {
		used[set.Labels[children.LabelConfig]] = true
	}
	done := len(k.obstacles(k.now)) == 0
	for key, o := range there {
		mounted := key.kind == "*v1.Secret" || key.kind == "*v1.ConfigMap"
		switch config := o.GetLabels()[children.LabelConfig]; {
		case key.kind == "*v1.Secret" && key.name == subject+"-registry-ca": // it stays with the packs
		case metav1.GetControllerOf(o) == nil: // somebody's copy, or an orphan: what the operator made has an owner
		case mounted && !done: // the pods of before may need it
		case key.kind == "*v1.Pod" || key.kind == "*v1.ReplicaSet" || key.kind == "*v1.PersistentVolumeClaim":
		case key.kind == "*v1.Secret" && config != "":
			if !used[config] {
				wrong = append(wrong, key.String()+" is a configuration that nothing runs with")
			}
		case !wanted[key] && !k.refused[resourceOf(key)]:
			wrong = append(wrong, key.String()+" is left, and nothing uses it")
		}
	}
	if done {
		if d := find[*appsv1.Deployment](k.now, k.namespace, subject); d != nil {
			wanted[objectKey{"*v1.Secret", k.namespace, subject + "-config-" + d.Spec.Template.Labels[children.LabelConfig]}] = true
		}
		for key := range wanted {
			switch o := there[key]; {
			case o == nil:
				wrong = append(wrong, key.String()+" is missing")
			case !metav1.IsControlledBy(o, r) && key.name != children.CAName(r):
				wrong = append(wrong, key.String()+" will not go with the registry")
			}
		}
	}
	return wrong
}

// resourceOf is the name by which policies know a kind.
func resourceOf(key objectKey) string {
	name := strings.ToLower(strings.TrimPrefix(key.kind, "*v1."))
	switch {
	case name == "ingress":
		return "ingresses"
	case strings.HasSuffix(name, "y"):
		return strings.TrimSuffix(name, "y") + "ies"
	}
	return name + "s"
}

// ofOrphan says whether an object belongs to one that was left behind on purpose.
func (k *walk) ofOrphan(o client.Object) bool {
	owner := metav1.GetControllerOf(o)
	return k.orphaned && owner != nil && (owner.Kind == "ReplicaSet" || owner.Kind == "Deployment")
}

// wanted are the children that a spec asks for, but for claims and configurations.
func (k *walk) wanted(r *v1alpha1.PackRegistry) map[objectKey]bool {
	wanted := map[objectKey]bool{}
	want := func(is bool, kind, name string) {
		if is {
			wanted[objectKey{"*v1." + kind, r.Namespace, name}] = true
		}
	}
	replicas := ptr.Deref(r.Spec.Replicas, 1)
	if d := find[*appsv1.Deployment](k.now, k.namespace, subject); d != nil && (isScaledElsewhere(r) || ptr.Deref(d.Spec.Replicas, 1) == 0) {
		replicas = ptr.Deref(d.Spec.Replicas, 1)
	}
	want(true, "Deployment", r.Name)
	want(true, "Service", r.Name)
	want(len(r.Spec.Auth.SecretRefs) > 0, "Secret", r.Name+"-registry-users")
	for kind, name := range map[string]string{"Secret": r.Name + "-registry-ca", "ConfigMap": r.Name + "-registry-ca"} {
		want(r.Spec.TLS.SelfSigned != nil, kind, name)
	}
	want(r.Spec.TLS.SelfSigned != nil, "Secret", r.Name+"-registry-tls")
	want(replicas > 1 && (r.Spec.PodDisruptionBudget == nil || ptr.Deref(r.Spec.PodDisruptionBudget.Enabled, true)), "PodDisruptionBudget", r.Name)
	want(r.Spec.Ingress != nil, "Ingress", r.Name)
	want(r.Spec.NetworkPolicy != nil && r.Spec.NetworkPolicy.Enabled, "NetworkPolicy", r.Name)
	want(r.Spec.Monitoring != nil && r.Spec.Monitoring.ServiceMonitor != nil && r.Spec.Monitoring.ServiceMonitor.Enabled, "Service", r.Name+"-registry-metrics")
	return wanted
}

// checkBystanders: nobody wrote to what belongs to the other registries.
func (k *walk) checkBystanders(*v1alpha1.PackRegistry) []string {
	if now := k.ofBystanders(); !maps.Equal(k.bystanders, now) {
		return []string{"changed: " + difference(k.bystanders, now)}
	}
	for name, namespace := range map[string]string{near: k.namespace, distant: k.far} {
		if name == near && (k.quota || len(k.refused) > 0) {
			continue // of its namespace
		}
		r, err := decoded(k.now.registry(namespace, name))
		if err != nil || !meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReady) {
			return []string{name + " is not ready"}
		}
	}
	return nil
}

func (k *walk) takeBystanders() { k.bystanders = k.ofBystanders() }

func (k *walk) ofBystanders() map[objectKey]string {
	versions := map[objectKey]string{}
	for key, o := range k.now.objects {
		if registry := o.GetLabels()[children.LabelRegistry]; registry == near || registry == distant || key.name == near || key.name == distant {
			versions[key] = o.GetResourceVersion()
		}
	}
	return versions
}

// checkSecrecy: no password, hash or key is in what is no Secret.
func (k *walk) checkSecrecy(*v1alpha1.PackRegistry) (wrong []string) {
	for key, o := range k.now.objects {
		if _, ok := o.(*corev1.Secret); ok {
			continue
		}
		text, err := json.Marshal(o)
		if err != nil {
			return []string{err.Error()}
		}
		for _, secret := range []string{"hush", "$2a$", "PRIVATE KEY"} {
			if bytes.Contains(text, []byte(secret)) {
				wrong = append(wrong, fmt.Sprintf("%s holds %q", key, secret))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}
