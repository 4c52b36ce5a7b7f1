package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"
	"unique"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1apply "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	networkingv1apply "k8s.io/client-go/applyconfigurations/networking/v1"
	policyv1apply "k8s.io/client-go/applyconfigurations/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file says what the cache keeps of the objects that it watches: of thousands of registries only what decisions are
// made of. What the operator owns of a child, which is most of it, is kept as a digest, to be compared with that of what it
// would apply.

// Annotations of objects in the cache alone. The API server takes no such keys, so that no object in the cluster can have
// them, and pass for one that was reduced here.
const (
	// annotationOwned is the digest of what the operator owns.
	annotationOwned = "(owned)"
	// ownedUnknown is its value where what the operator owns cannot be read: it is applied again.
	ownedUnknown = "unknown"
	// annotationImage is the image of a Deployment's pods.
	annotationImage = "(image)"
	// annotationConfig is the configuration that they run with, by its hash.
	annotationConfig = "(config)"
	// annotationScaled says who else has set the number of replicas.
	annotationScaled = "(scaled-by-others)"
)

// digest is a hash of the JSON that would go over the wire: quantities are canonical there, and what is absent is absent.
func digest(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var sorted any
	if err := json.Unmarshal(data, &sorted); err != nil {
		return "", err
	}
	if data, err = json.Marshal(sorted); err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), nil
}

// transformChild makes the function that reduces what the cache gets of a kind. keep takes over what decisions need.
func transformChild[L client.Object, W any](extract func(L, string) (W, error), keep func(from, to L)) func(any) (any, error) {
	return func(o any) (any, error) {
		from, ok := o.(L)
		if !ok || from.GetAnnotations()[annotationOwned] != "" { // a tombstone, or reduced already
			return o, nil
		}
		// An error here would be the watch's, and keep all objects of the kind from the cache for the sake of one.
		sum := ownedUnknown
		if owned, err := extract(from, FieldOwner); err == nil {
			if known, err := digest(owned); err == nil {
				sum = known
			}
		}
		to, ok := emptyOf(from).(L)
		if !ok {
			return o, nil
		}
		transformMeta(from, to)
		to.SetAnnotations(map[string]string{annotationOwned: sum})
		keep(from, to)
		return to, nil
	}
}

// transformMeta keeps who an object is, and whose. Strings that all objects have are those of this program.
func transformMeta(from, to client.Object) {
	to.SetName(from.GetName())
	to.SetNamespace(from.GetNamespace())
	to.SetUID(from.GetUID())
	to.SetResourceVersion(from.GetResourceVersion())
	to.SetGeneration(from.GetGeneration())
	to.SetDeletionTimestamp(from.GetDeletionTimestamp())
	labels, controller := from.GetLabels(), metav1.GetControllerOf(from)
	name, config := labels[children.LabelRegistry], labels[children.LabelConfig]
	if config != "" || labels[children.LabelManagedBy] != children.ManagedBy || controller != nil && (controller.Kind != packRegistryKind || controller.Name != name) {
		kept := map[string]string{}
		for _, key := range []string{children.LabelManagedBy, children.LabelRegistry, children.LabelConfig} {
			if value := labels[key]; value != "" {
				kept[key] = value
			}
		}
		to.SetLabels(kept)
		if controller != nil {
			to.SetOwnerReferences([]metav1.OwnerReference{*controller})
		}
		return
	}
	shared := internedFor(client.ObjectKey{Namespace: from.GetNamespace(), Name: name}, controller)
	to.SetLabels(shared.labels)
	if controller != nil {
		to.SetOwnerReferences(shared.owners)
	}
}

// interned is what the children of one registry have in common. The cache holds it once; nobody changes what is in the
// cache, and who reads from it gets copies.
type interned struct {
	labels map[string]string
	owners []metav1.OwnerReference
}

// internedMetadata is what the children of registries have in common, by the names of these.
var internedMetadata sync.Map

func internedFor(registry client.ObjectKey, controller *metav1.OwnerReference) *interned {
	if known, ok := internedMetadata.Load(registry); ok {
		c := known.(*interned) //nolint:forcetypeassert // nothing else is put there
		if controller == nil || len(c.owners) > 0 && c.owners[0].UID == controller.UID {
			return c
		}
	}
	c := &interned{labels: map[string]string{children.LabelManagedBy: children.ManagedBy, children.LabelRegistry: registry.Name}}
	if controller != nil {
		controller.Kind, controller.APIVersion = packRegistryKind, packRegistryVersion
		c.owners = []metav1.OwnerReference{*controller}
	}
	internedMetadata.Store(registry, c)
	return c
}

const (
	packRegistryKind = "PackRegistry"
	claimKind        = "PersistentVolumeClaim"
)

var packRegistryVersion = v1alpha1.GroupVersion.String()

func emptyOf(o client.Object) client.Object {
	switch o.(type) {
	case *appsv1.Deployment:
		return &appsv1.Deployment{}
	case *corev1.Service:
		return &corev1.Service{}
	case *corev1.ConfigMap:
		return &corev1.ConfigMap{}
	case *corev1.PersistentVolumeClaim:
		return &corev1.PersistentVolumeClaim{}
	case *networkingv1.Ingress:
		return &networkingv1.Ingress{}
	case *networkingv1.NetworkPolicy:
		return &networkingv1.NetworkPolicy{}
	case *policyv1.PodDisruptionBudget:
		return &policyv1.PodDisruptionBudget{}
	}
	return o
}

var (
	transformDeployment = transformChild(appsv1apply.ExtractDeployment, func(from, to *appsv1.Deployment) {
		to.Spec.Replicas = from.Spec.Replicas
		if containers := from.Spec.Template.Spec.Containers; len(containers) > 0 {
			to.Annotations[annotationImage] = unique.Make(containers[0].Image).Value() // a Container is 700 bytes, most registries' images are one
		}
		for _, key := range []string{children.AnnotationVersion, children.AnnotationUpgradedFrom, children.AnnotationReplicas} {
			if value := from.Annotations[key]; value != "" {
				to.Annotations[key] = unique.Make(value).Value()
			}
		}
		if config := from.Spec.Template.Labels[children.LabelConfig]; config != "" {
			to.Annotations[annotationConfig] = config
		}
		to.Status = from.Status
		to.Status.Conditions = nil
		for _, c := range from.Status.Conditions {
			kept := appsv1.DeploymentCondition{Type: c.Type, Status: c.Status, Reason: c.Reason}
			if c.Type == appsv1.DeploymentReplicaFailure {
				kept.Message = c.Message
			}
			to.Status.Conditions = append(to.Status.Conditions, kept)
		}
		if by := scaledBy(from); by != "" {
			to.Annotations[annotationScaled] = by
		}
	})
	transformService = transformChild(corev1apply.ExtractService, func(from, to *corev1.Service) {
		to.Spec.Type, to.Spec.Ports, to.Status = from.Spec.Type, from.Spec.Ports, from.Status
	})
	transformClaim = transformChild(corev1apply.ExtractPersistentVolumeClaim, func(from, to *corev1.PersistentVolumeClaim) {
		to.CreationTimestamp = from.CreationTimestamp
		to.Spec.AccessModes, to.Spec.StorageClassName, to.Spec.Resources = from.Spec.AccessModes, from.Spec.StorageClassName, from.Spec.Resources
		to.Spec.DataSource = from.Spec.DataSource
		if owned := ownedFields(from); len(owned) > 0 {
			to.Annotations[annotationOwnedFields] = strings.Join(owned, ",")
		}
		to.Status = from.Status
	})
	transformConfigMap = transformChild(corev1apply.ExtractConfigMap, func(_, _ *corev1.ConfigMap) {})
	transformIngress   = transformChild(networkingv1apply.ExtractIngress, func(from, to *networkingv1.Ingress) { to.Status = from.Status })
	transformPolicy    = transformChild(networkingv1apply.ExtractNetworkPolicy, func(_, _ *networkingv1.NetworkPolicy) {})
	transformBudget    = transformChild(policyv1apply.ExtractPodDisruptionBudget, func(_, _ *policyv1.PodDisruptionBudget) {})
)

// transformRegistry drops who set which field of a PackRegistry: the operator never asks.
func transformRegistry(o any) (any, error) {
	if r, ok := o.(*v1alpha1.PackRegistry); ok {
		r.ManagedFields = nil
		delete(r.Annotations, corev1.LastAppliedConfigAnnotation)
	}
	return o, nil
}

// transformSecret keeps of a Secret's metadata what shows that it changed, and whose child it is.
func transformSecret(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	reduced := &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta}
	if m.Labels[children.LabelManagedBy] == children.ManagedBy {
		transformMeta(m, reduced)
		return reduced, nil
	}
	reduced.ObjectMeta = metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion}
	return reduced, nil
}

// transformPod keeps of a pod what the resync of its volumes and the report of its state need.
func transformPod(o any) (any, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	reduced := &corev1.Pod{Spec: corev1.PodSpec{NodeName: pod.Spec.NodeName}, Status: pod.Status}
	transformMeta(pod, reduced)
	if version, ok := pod.Annotations[children.AnnotationSecrets]; ok {
		reduced.Annotations = map[string]string{children.AnnotationSecrets: version}
	}
	return reduced, nil
}

// imageOf is the image that a Deployment's pods run.
func imageOf(live *appsv1.Deployment) string {
	if image := live.Annotations[annotationImage]; image != "" {
		return image
	}
	if containers := live.Spec.Template.Spec.Containers; len(containers) > 0 {
		return containers[0].Image
	}
	return ""
}
