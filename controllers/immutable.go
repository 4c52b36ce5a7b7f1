package controllers

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
)

// This file is about fields that the API server lets nobody change once an object exists. What an apply leaves out it takes
// away, if the operator owned it: a claim that was kept from an earlier PackRegistry, which named a class, could not be
// applied for one that names none. So such fields are applied as they are, and a spec that asks for another value is reported.
//
// Of what the operator makes, these are fields of claims, and the type of a Secret. Its other immutable fields are always the
// same (the Deployment's selector, clusterIP None of the Service of metrics), chosen anew with each name (the
// configuration), or guarded by the CRD (loadBalancerClass).

// annotationOwnedFields lists, in the cache, the optional fields of a claim that the operator owns.
const annotationOwnedFields = "(owned-fields)"

const (
	classField  = "storageClassName"
	sourceField = "dataSource"
)

// ownedFields are those of a claim's optional immutable fields that would be taken away by an apply without them.
func ownedFields(live *corev1.PersistentVolumeClaim) []string {
	if live.Annotations[annotationOwned] != "" {
		return strings.Split(live.Annotations[annotationOwnedFields], ",")
	}
	owned, err := corev1apply.ExtractPersistentVolumeClaim(live, FieldOwner)
	if err != nil || owned.Spec == nil {
		return nil
	}
	var fields []string
	if owned.Spec.StorageClassName != nil {
		fields = append(fields, classField)
	}
	if owned.Spec.DataSource != nil {
		fields = append(fields, sourceField)
	}
	return fields
}

// keepClaim lets an existing claim have the access modes, the class and the source that it has.
func keepClaim(want *corev1apply.PersistentVolumeClaimApplyConfiguration, live *corev1.PersistentVolumeClaim) {
	if live == nil {
		return
	}
	owned := ownedFields(live)
	if modes := live.Spec.AccessModes; len(modes) > 0 {
		want.Spec.AccessModes = modes
	}
	if class := live.Spec.StorageClassName; class != nil && (want.Spec.StorageClassName != nil || slices.Contains(owned, classField)) {
		want.Spec.WithStorageClassName(*class)
	}
	if source := live.Spec.DataSource; source != nil && (want.Spec.DataSource != nil || slices.Contains(owned, sourceField)) {
		want.Spec.DataSource = &corev1apply.TypedLocalObjectReferenceApplyConfiguration{APIGroup: source.APIGroup, Kind: &source.Kind, Name: &source.Name}
	}
}

// unlikeKept says what a spec asks for that a claim that was kept from an earlier PackRegistry is not, or "". The fields of a
// PackRegistry's own claim cannot be changed in its spec.
func unlikeKept(r *v1alpha1.PackRegistry, live *corev1.PersistentVolumeClaim) string {
	spec := r.Spec.Storage.PersistentVolumeClaim
	if spec == nil || spec.ClaimName != "" || live == nil || !live.CreationTimestamp.Before(&r.CreationTimestamp) {
		return ""
	}
	const mend = "use what it has, or another name for the PackRegistry, or delete the claim with its packs"
	if class := live.Spec.StorageClassName; spec.StorageClassName != nil && class != nil && *class != *spec.StorageClassName {
		return fmt.Sprintf("PersistentVolumeClaim %s was kept from an earlier PackRegistry and has the StorageClass %q, not %q: %s", live.Name, *class, *spec.StorageClassName, mend)
	}
	if modes := live.Spec.AccessModes; len(spec.AccessModes) > 0 && len(modes) > 0 && !sameModes(modes, spec.AccessModes) {
		return fmt.Sprintf("PersistentVolumeClaim %s was kept from an earlier PackRegistry and has the access modes %v, not %v: %s", live.Name, modes, spec.AccessModes, mend)
	}
	if source := spec.DataSource; source != nil && !filledFrom(live, source) {
		return fmt.Sprintf("PersistentVolumeClaim %s was kept from an earlier PackRegistry, and is not filled from %s %s a second time: make the PackRegistry anew without dataSource, or use another name for the PackRegistry, or delete the claim with its packs",
			live.Name, source.Kind, source.Name)
	}
	return ""
}

func sameModes(a, b []corev1.PersistentVolumeAccessMode) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func filledFrom(live *corev1.PersistentVolumeClaim, source *v1alpha1.DataSource) bool {
	from := live.Spec.DataSource
	if from == nil || from.Kind != source.Kind || from.Name != source.Name {
		return false
	}
	group := ""
	if from.APIGroup != nil {
		group = *from.APIGroup
	}
	return group == source.APIGroup
}

// keepSecret lets an existing Secret have the type that it has: people copy the CA, and restore Secrets, as they like.
func keepSecret(want *corev1apply.SecretApplyConfiguration, live *corev1.Secret) {
	if live != nil && live.Type != "" {
		want.WithType(live.Type)
	}
}
