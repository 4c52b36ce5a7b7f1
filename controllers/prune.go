package controllers

import (
	"cmp"
	"context"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file finds what the spec asks for no more: everything that the operator made for the registry, that is none of the
// children that were decided on, and that the spec does not name. Claims are never among it, nor is the Deployment, which every
// registry has.

// ownedChild is an object that carries the registry's label.
type ownedChild struct {
	kind string
	client.Object
}

// observeOwned lists what carries the registry's label, of kinds that are deleted when they are not wanted.
func (r *Reconciler) observeOwned(ctx context.Context, o *observed, mine []client.ListOption) error {
	for kind, list := range map[string]client.ObjectList{
		"Service": &corev1.ServiceList{}, "ConfigMap": &corev1.ConfigMapList{}, "PodDisruptionBudget": &policyv1.PodDisruptionBudgetList{},
		"Ingress": &networkingv1.IngressList{}, "NetworkPolicy": &networkingv1.NetworkPolicyList{},
	} {
		if err := r.List(ctx, list, append(slices.Clip(mine), client.UnsafeDisableDeepCopy)...); err != nil { // they are only looked at
			return err
		}
		if err := meta.EachListItem(list, func(item runtime.Object) error {
			o.owned = append(o.owned, ownedChild{kind, item.(client.Object)}) //nolint:forcetypeassert // items are objects
			return nil
		}); err != nil {
			return err
		}
	}
	slices.SortFunc(o.owned, func(a, b ownedChild) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.GetName(), b.GetName()))
	})
	secrets := metadataList("Secret")
	if err := r.Metadata.List(ctx, secrets, mine...); err != nil {
		return err
	}
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		switch {
		case ofEarlier(o.registry, secret):
		case isConfig(o.registry, secret):
			o.configs = append(o.configs, *secret) // which outlive their use, by ReplicaSets
		default:
			o.owned = append(o.owned, ownedChild{"Secret", secret})
		}
	}
	return nil
}

// isConfig says whether a Secret is a configuration that the operator rendered, and no copy of one. One that was left behind
// on purpose has no owner.
func isConfig(r *v1alpha1.PackRegistry, secret *metav1.PartialObjectMetadata) bool {
	hash := secret.Labels[children.LabelConfig]
	return hash != "" && secret.Name == children.ConfigName(r, hash)
}

// planPruning lists what is there and not wanted. Labels do not make an object the operator's: `kubectl expose` copies them,
// and so does who keeps a copy. The owner does, which nobody else sets.
func (d *decision) planPruning(o *observed) {
	wanted := map[string]bool{}
	for _, c := range slices.Concat(d.first, d.children, d.pods) {
		wanted[c.kind()+"/"+c.name()] = true
	}
	for _, name := range keptSecrets(o.registry) {
		wanted["Secret/"+name], wanted["ConfigMap/"+name] = true, true
	}
	for _, id := range named(o.registry) {
		wanted[id] = true
	}
	unused := podsUseOnly(o, d)
	for _, c := range o.owned {
		mounted := c.kind == "Secret" || c.kind == "ConfigMap"
		switch {
		case wanted[c.kind+"/"+c.GetName()], foreign(o.registry, c.Object) != "", !controlledBy(o.registry, c.Object):
		case mounted && !unused: // a pod may need it yet
		default:
			copied, ok := c.DeepCopyObject().(client.Object)
			if ok {
				d.unwanted = append(d.unwanted, copied)
			}
		}
	}
}

// keptSecrets are the Secrets, and the ConfigMap of the CA, that the spec asks for also when nothing good can be made of them
// now: the last good users stay, and so does a CA that a person has to look at.
func keptSecrets(r *v1alpha1.PackRegistry) []string {
	var names []string
	if len(r.Spec.Auth.SecretRefs) > 0 {
		names = append(names, children.UsersName(r))
	}
	if r.Spec.TLS.SelfSigned != nil {
		names = append(names, children.CAName(r), children.TLSSecret(r))
	}
	return names
}

// named are the Secrets and ConfigMaps that the spec names, which may have been made for what it asked for before: a
// certificate of tls.selfSigned that cert-manager, or a person, is to go on with.
func named(r *v1alpha1.PackRegistry) []string {
	var ids []string
	for _, name := range secretNames(r) {
		ids = append(ids, "Secret/"+name)
	}
	for _, ref := range caRefs(r) {
		if ref.Kind == v1alpha1.CARefConfigMap {
			ids = append(ids, sourceOf(ref))
		}
	}
	ids = append(ids, children.NamedByPods(r.Spec.Pod)...)
	for _, ref := range r.Spec.Pod.ImagePullSecrets {
		ids = append(ids, "Secret/"+ref.Name)
	}
	for _, env := range r.Spec.Pod.Env {
		switch from := env.ValueFrom; {
		case from == nil:
		case from.SecretKeyRef != nil:
			ids = append(ids, "Secret/"+from.SecretKeyRef.Name)
		case from.ConfigMapKeyRef != nil:
			ids = append(ids, "ConfigMap/"+from.ConfigMapKeyRef.Name)
		}
	}
	return ids
}

// podsUseOnly says whether all pods there are, and all that can come, are those of the decision.
func podsUseOnly(o *observed, d *decision) bool {
	if o.deployment == nil {
		return len(o.pods) == 0
	}
	for _, c := range d.pods {
		if live, ok := c.object().(*appsv1.Deployment); ok {
			same, err := c.upToDate()
			return err == nil && same && !rolling(live)
		}
	}
	return false
}

func controlledBy(r *v1alpha1.PackRegistry, o client.Object) bool {
	controller := metav1.GetControllerOf(o)
	return controller != nil && controller.UID == r.UID
}

// planGivenUpCA carries out the deletion policy of a CA that tls.selfSigned has made and that the spec asks for no more: it
// stays with the packs, since clients trust it and tls.selfSigned may come back; or it goes with them, and with it what it was
// for.
func (d *decision) planGivenUpCA(o *observed) {
	r := o.registry
	if r.Spec.TLS.SelfSigned != nil || o.ca == nil || foreign(r, o.ca) != "" {
		return
	}
	// Beside another storage than it was made with, one without an owner is that of an earlier PackRegistry's packs.
	if children.KeptWithData(r) || r.Spec.Storage.PersistentVolumeClaim != nil && !controlledBy(r, o.ca) {
		d.first = append(d.first, secretChild(o.ca, children.CASecret(r, o.ca.Data)))
	}
}
