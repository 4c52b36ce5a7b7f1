package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// StorageSpec is where packs are kept. Its kind cannot be changed: packs would be left behind.
//
// +kubebuilder:validation:ExactlyOneOf=persistentVolumeClaim;s3;inMemory
// +kubebuilder:validation:XValidation:rule="has(self.persistentVolumeClaim) == has(oldSelf.persistentVolumeClaim) && has(self.s3) == has(oldSelf.s3)",message="the kind of storage cannot be changed: make another PackRegistry and copy the packs"
type StorageSpec struct {
	// PersistentVolumeClaim keeps packs on a volume.
	// +optional
	PersistentVolumeClaim *PersistentVolumeClaimSpec `json:"persistentVolumeClaim,omitempty"`
	// S3 keeps packs in a bucket of AWS or of a compatible server. Objects in it are never deleted with the PackRegistry.
	// +optional
	S3 *S3Spec `json:"s3,omitempty"`
	// InMemory forgets all packs when the pod ends. For trying things out.
	// +optional
	InMemory *InMemorySpec `json:"inMemory,omitempty"`
}

// DeletionPolicy says what becomes of packs when their PackRegistry is deleted.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

const (
	// DeletionRetain keeps the claim. A PackRegistry of the same name finds it again.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionDelete deletes the claim with the PackRegistry.
	DeletionDelete DeletionPolicy = "Delete"
)

// PersistentVolumeClaimSpec is a claim that the operator makes, or one that exists (claimName).
//
// +kubebuilder:validation:XValidation:rule="has(self.claimName) ? !has(self.size) && !has(self.storageClassName) && !has(self.accessModes) : has(self.size)",message="give a size for a claim to be made, or the claimName of one that exists; claimName excludes size, storageClassName and accessModes"
// +kubebuilder:validation:XValidation:rule="has(self.claimName) == has(oldSelf.claimName) && (!has(self.claimName) || self.claimName == oldSelf.claimName)",message="claimName cannot be changed: the packs are on the other claim"
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",message="storageClassName cannot be changed"
// +kubebuilder:validation:XValidation:rule="has(self.accessModes) == has(oldSelf.accessModes) && (!has(self.accessModes) || self.accessModes == oldSelf.accessModes)",message="accessModes cannot be changed"
// +kubebuilder:validation:XValidation:rule="!has(self.dataSource) || !has(self.claimName)",message="dataSource fills a claim that the operator makes: not with claimName"
// +kubebuilder:validation:XValidation:rule="has(self.dataSource) == has(oldSelf.dataSource) && (!has(self.dataSource) || self.dataSource == oldSelf.dataSource)",message="dataSource cannot be changed: a volume is filled once"
// +kubebuilder:validation:XValidation:rule="!has(self.size) || !has(oldSelf.size) || quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",message="a claim can grow, but not shrink"
// +kubebuilder:validation:XValidation:rule="!has(self.size) || quantity(string(self.size)).isGreaterThan(quantity('0'))",message="size must be greater than 0"
// +kubebuilder:validation:XValidation:rule="!has(self.claimName) || !has(self.deletionPolicy) || self.deletionPolicy == 'Retain'",message="a claim that was not made by the operator is not deleted by it: deletionPolicy: Delete excludes claimName"
type PersistentVolumeClaimSpec struct {
	// Size of the claim. It can grow where the storage class can expand volumes.
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`
	// StorageClassName; the cluster's default class if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$`
	StorageClassName *string `json:"storageClassName,omitempty"`
	// AccessModes of the claim; [ReadWriteOnce] if left out.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:Enum=ReadWriteOnce;ReadWriteOncePod;ReadWriteMany
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	// ClaimName is a claim that exists.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	ClaimName string `json:"claimName,omitempty"`
	// DataSource is what the claim's volume begins with: a VolumeSnapshot, or another claim to be cloned.
	// +optional
	DataSource *DataSource `json:"dataSource,omitempty"`
	// DeletionPolicy says what becomes of the claim when the PackRegistry is deleted: Retain (the default) or Delete.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DataSource names what a volume is restored from.
type DataSource struct {
	// APIGroup of the kind: snapshot.storage.k8s.io for a VolumeSnapshot, nothing for a PersistentVolumeClaim.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	APIGroup string `json:"apiGroup,omitempty"`
	// Kind is VolumeSnapshot or PersistentVolumeClaim.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9]*$`
	Kind string `json:"kind"`
	// Name of the object, which is in the namespace of the PackRegistry.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
}

// S3Spec is a bucket.
//
// +kubebuilder:validation:XValidation:rule="has(self.region) || has(self.endpoint)",message="give the region of a bucket of AWS, or the endpoint of another server"
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) == has(oldSelf.endpoint) && (!has(self.endpoint) || self.endpoint == oldSelf.endpoint) && has(self.region) == has(oldSelf.region) && (!has(self.region) || self.region == oldSelf.region) || has(self.movedFrom) && self.movedFrom == (has(oldSelf.endpoint) ? oldSelf.endpoint : 'AWS')",message="endpoint and region cannot be changed: the packs are elsewhere. Make another PackRegistry, which may use the same bucket; where this very bucket has another address now, say so with movedFrom: the endpoint before, or AWS for none"
// +kubebuilder:validation:XValidation:rule="self.bucket == oldSelf.bucket && has(self.rootDirectory) == has(oldSelf.rootDirectory) && (!has(self.rootDirectory) || self.rootDirectory == oldSelf.rootDirectory)",message="bucket and rootDirectory cannot be changed: the packs are elsewhere"
type S3Spec struct {
	// Bucket that exists.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]$`
	Bucket string `json:"bucket"`
	// Region of the bucket. It cannot be changed.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._-]*$`
	Region string `json:"region,omitempty"`
	// Endpoint is the URL of an S3-compatible server; AWS if left out. It cannot be changed, except with movedFrom.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https?://([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$`
	Endpoint string `json:"endpoint,omitempty"`
	// MovedFrom says that the bucket, with all that is in it, was reached at this endpoint before (AWS for none), and allows for
	// another endpoint and region.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^(AWS|https?://[^\s]+)$`
	MovedFrom string `json:"movedFrom,omitempty"`
	// RootDirectory is a prefix of all keys.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^/?[^/\s]+(/[^/\s]+)*/?$`
	RootDirectory string `json:"rootDirectory,omitempty"`
	// Encrypt asks the server to encrypt objects at rest.
	// +optional
	Encrypt bool `json:"encrypt,omitempty"`
	// KMSKeyID encrypts with a key of AWS KMS.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^\S+$`
	KMSKeyID string `json:"kmsKeyID,omitempty"`
	// ForcePathStyle puts the bucket into the path instead of the host; the default where there is an endpoint.
	// +optional
	ForcePathStyle *bool `json:"forcePathStyle,omitempty"`
	// StorageClass of the objects.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+$`
	StorageClass string `json:"storageClass,omitempty"`
	// SecretRef names a Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN if there
	// is one. Without it the pod's own identity is used.
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
	// CARef names the Secret or ConfigMap whose ca.crt the endpoint's certificate is checked against.
	// +optional
	CARef *CARef `json:"caRef,omitempty"`
}

// InMemorySpec has no settings.
type InMemorySpec struct{}
