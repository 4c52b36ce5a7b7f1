package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// world is all that is in the walk's namespaces, read once.
type world struct {
	objects map[objectKey]client.Object
}

// objectKey is a kind (a Go type), a namespace and a name.
type objectKey struct{ kind, namespace, name string }

func (k objectKey) String() string {
	return strings.TrimPrefix(k.kind[strings.LastIndexByte(k.kind, '.')+1:], "*") + " " + k.namespace + "/" + k.name
}

func keyOf(o client.Object) objectKey {
	kind := fmt.Sprintf("%T", o)
	if u, ok := o.(*unstructured.Unstructured); ok {
		kind = u.GetKind()
	}
	return objectKey{kind, o.GetNamespace(), o.GetName()}
}

// walkLists are the kinds that are looked at. PackRegistries are read without their type: some cannot be decoded.
func walkLists() []client.ObjectList {
	registries := &unstructured.UnstructuredList{}
	registries.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PackRegistryList"))
	return []client.ObjectList{registries, &appsv1.DeploymentList{}, &appsv1.ReplicaSetList{}, &corev1.PodList{}, &corev1.ServiceList{}, &corev1.SecretList{},
		&corev1.ConfigMapList{}, &corev1.PersistentVolumeClaimList{}, &policyv1.PodDisruptionBudgetList{}, &networkingv1.IngressList{},
		&networkingv1.NetworkPolicyList{}, &corev1.ResourceQuotaList{}}
}

func readWorld(ctx context.Context, reader client.Reader, namespaces ...string) (*world, error) {
	w, lists := &world{map[objectKey]client.Object{}}, walkLists()
	errs := make([]error, len(lists))
	var group sync.WaitGroup
	for i, list := range lists {
		group.Go(func() { errs[i] = reader.List(ctx, list) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, list := range lists {
		if err := meta.EachListItem(list, func(o runtime.Object) error {
			object := o.(client.Object) //nolint:forcetypeassert // items are objects
			if slices.Contains(namespaces, object.GetNamespace()) {
				w.objects[keyOf(object)] = object
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// all are the objects of a type, in order of their names.
func all[T client.Object](w *world) []T {
	var list []T
	for _, key := range slices.SortedFunc(maps.Keys(w.objects), func(a, b objectKey) int { return strings.Compare(a.String(), b.String()) }) {
		if o, ok := w.objects[key].(T); ok {
			list = append(list, o)
		}
	}
	return list
}

// find is the object of a type and name, or nil.
func find[T client.Object](w *world, namespace, name string) T {
	var none T
	o, ok := w.objects[objectKey{fmt.Sprintf("%T", none), namespace, name}]
	if !ok {
		return none
	}
	return o.(T) //nolint:forcetypeassert // the key says so
}

// registry is the PackRegistry of a name, or nil.
func (w *world) registry(namespace, name string) *unstructured.Unstructured {
	if o, ok := w.objects[objectKey{"PackRegistry", namespace, name}]; ok {
		return o.(*unstructured.Unstructured) //nolint:forcetypeassert // the key says so
	}
	return nil
}

// decoded is a PackRegistry as the operator's types see it.
func decoded(u *unstructured.Unstructured) (*v1alpha1.PackRegistry, error) {
	r := &v1alpha1.PackRegistry{}
	text, err := u.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(text, r)
}

// versions are the resourceVersions of all objects.
func (w *world) versions() map[objectKey]string {
	versions := map[objectKey]string{}
	for key, o := range w.objects {
		versions[key] = o.GetResourceVersion()
	}
	return versions
}

// difference says which objects differ between two sets of versions.
func difference(a, b map[objectKey]string) string {
	changed := map[string]bool{}
	for key := range a {
		if a[key] != b[key] {
			changed[key.String()] = true
		}
	}
	for key := range b {
		if a[key] != b[key] {
			changed[key.String()] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(changed)), ", ")
}

// underWay says what the cluster's own controllers have yet to do, or "".
func (w *world) underWay() string {
	uids := map[types.UID]bool{}
	for _, o := range w.objects {
		uids[o.GetUID()] = true
	}
	for key, o := range w.objects {
		if owner := metav1.GetControllerOf(o); owner != nil && !uids[owner.UID] {
			return fmt.Sprintf("%s is not collected yet", key)
		}
		if _, isClaim := o.(*corev1.PersistentVolumeClaim); o.GetDeletionTimestamp() != nil && (!isClaim || !w.inUse(o)) {
			return fmt.Sprintf("%s is being deleted", key)
		}
	}
	for _, set := range all[*appsv1.ReplicaSet](w) {
		if why := w.setUnderWay(set); why != "" {
			return fmt.Sprintf("ReplicaSet %s/%s: %s", set.Namespace, set.Name, why)
		}
	}
	for _, d := range all[*appsv1.Deployment](w) {
		if why := w.deploymentUnderWay(d); why != "" {
			return fmt.Sprintf("Deployment %s/%s: %s", d.Namespace, d.Name, why)
		}
	}
	for _, quota := range all[*corev1.ResourceQuota](w) {
		if why := w.quotaUnderWay(quota); why != "" {
			return fmt.Sprintf("ResourceQuota %s: %s", quota.Namespace, why)
		}
	}
	return ""
}

// inUse says whether a pod holds a claim.
func (w *world) inUse(claim client.Object) bool {
	return slices.ContainsFunc(all[*corev1.Pod](w), func(pod *corev1.Pod) bool {
		return pod.Namespace == claim.GetNamespace() && slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.GetName()
		})
	})
}

func (w *world) ownedPods(owner types.UID) (list []*corev1.Pod, ready int32) {
	for _, pod := range all[*corev1.Pod](w) {
		if c := metav1.GetControllerOf(pod); c != nil && c.UID == owner && pod.DeletionTimestamp == nil {
			list = append(list, pod)
			if pod.Status.Phase == corev1.PodRunning {
				ready++
			}
		}
	}
	return list, ready
}

func (w *world) setUnderWay(set *appsv1.ReplicaSet) string {
	pods, ready := w.ownedPods(set.UID)
	switch want, n := ptr.Deref(set.Spec.Replicas, 1), int32(len(pods)); {
	case set.Status.ObservedGeneration != set.Generation:
		return "not looked at yet"
	case n != want || set.Status.Replicas != n:
		return fmt.Sprintf("%d pods of %d (%d reported)", n, want, set.Status.Replicas)
	case set.Status.ReadyReplicas != ready || set.Status.AvailableReplicas != ready:
		return fmt.Sprintf("%d pods are ready, %d reported", ready, set.Status.ReadyReplicas)
	}
	return ""
}

func (w *world) deploymentUnderWay(d *appsv1.Deployment) string {
	var sets []*appsv1.ReplicaSet
	var replicas, ready, pods int32
	for _, set := range all[*appsv1.ReplicaSet](w) {
		if c := metav1.GetControllerOf(set); c != nil && c.UID == d.UID {
			sets = append(sets, set)
			replicas, ready = replicas+set.Status.Replicas, ready+set.Status.ReadyReplicas
			pods += ptr.Deref(set.Spec.Replicas, 0)
		}
	}
	want := ptr.Deref(d.Spec.Replicas, 1)
	switch {
	case d.Status.ObservedGeneration != d.Generation:
		return "not looked at yet"
	case len(sets) == 0:
		return "has no ReplicaSet yet"
	case d.Status.Replicas != replicas || d.Status.ReadyReplicas != ready || d.Status.AvailableReplicas != ready:
		return "its status is not that of its ReplicaSets yet"
	case ready == pods && (d.Status.UpdatedReplicas != want || replicas != want):
		return "rolls" // all pods are well, so it can go on
	}
	return ""
}

func (w *world) quotaUnderWay(quota *corev1.ResourceQuota) string {
	secrets := 0
	for _, s := range all[*corev1.Secret](w) {
		if s.Namespace == quota.Namespace {
			secrets++
		}
	}
	if used := quota.Status.Used[quotaResource]; used.Value() != int64(secrets) {
		return fmt.Sprintf("counts %d Secrets of %d", used.Value(), secrets)
	}
	return ""
}

// childrenNamed are the objects with a registry's label.
func (w *world) childrenNamed(namespace, registry string) map[objectKey]client.Object {
	found := map[objectKey]client.Object{}
	for key, o := range w.objects {
		labels := o.GetLabels()
		if key.namespace == namespace && labels[children.LabelRegistry] == registry && labels[children.LabelManagedBy] == children.ManagedBy {
			found[key] = o
		}
	}
	return found
}

func isConflict(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
