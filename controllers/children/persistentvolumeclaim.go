package children

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
)

// Claim is the claim that packs are kept on, or nil where the operator makes none. A claim that is to be retained has no
// owner; it is found again by its label and name. Of one that exists no other size is asked here than was before, so that
// nothing that is said of sizes holds up the deletion policy.
func Claim(r *v1alpha1.PackRegistry, live *corev1.PersistentVolumeClaim) *corev1apply.PersistentVolumeClaimApplyConfiguration {
	spec := r.Spec.Storage.PersistentVolumeClaim
	if spec == nil || spec.ClaimName != "" {
		return nil
	}
	if live != nil {
		if size, ok := live.Spec.Resources.Requests[corev1.ResourceStorage]; ok {
			return claim(r, size)
		}
	}
	if spec.Size == nil {
		return nil
	}
	return claim(r, *spec.Size)
}

// GrownClaim is the claim with the size that the spec asks for.
func GrownClaim(r *v1alpha1.PackRegistry) *corev1apply.PersistentVolumeClaimApplyConfiguration {
	return claim(r, *r.Spec.Storage.PersistentVolumeClaim.Size)
}

func claim(r *v1alpha1.PackRegistry, size resource.Quantity) *corev1apply.PersistentVolumeClaimApplyConfiguration {
	spec := r.Spec.Storage.PersistentVolumeClaim
	claim := corev1apply.PersistentVolumeClaim(ClaimName(r), r.Namespace).
		WithLabels(objectLabels(r, KeptLabels(r))).WithAnnotations(objectAnnotations(r)).
		WithSpec(corev1apply.PersistentVolumeClaimSpec().
			WithAccessModes(AccessModes(r)...).
			WithResources(corev1apply.VolumeResourceRequirements().
				WithRequests(corev1.ResourceList{corev1.ResourceStorage: size})))
	if spec.StorageClassName != nil {
		claim.Spec.WithStorageClassName(*spec.StorageClassName)
	}
	if source := spec.DataSource; source != nil {
		ref := corev1apply.TypedLocalObjectReference().WithKind(source.Kind).WithName(source.Name)
		if source.APIGroup != "" {
			ref.WithAPIGroup(source.APIGroup)
		}
		claim.Spec.WithDataSource(ref)
	}
	if spec.DeletionPolicy == v1alpha1.DeletionDelete {
		claim.WithOwnerReferences(owner(r))
	}
	return claim
}

// AccessModes of the claim that the operator makes.
func AccessModes(r *v1alpha1.PackRegistry) []corev1.PersistentVolumeAccessMode {
	if modes := r.Spec.Storage.PersistentVolumeClaim.AccessModes; len(modes) > 0 {
		return modes
	}
	return []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
}
