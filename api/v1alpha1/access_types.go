package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// SecretRef names a Secret of the PackRegistry's namespace.
type SecretRef struct {
	// Name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
}

// CARefKind is the kind of object that holds certificates to trust.
// +kubebuilder:validation:Enum=Secret;ConfigMap
type CARefKind string

// Kinds of objects that hold certificates to trust.
const (
	CARefSecret    CARefKind = "Secret"
	CARefConfigMap CARefKind = "ConfigMap"
)

// CARef names a Secret or a ConfigMap of the PackRegistry's namespace, whose ca.crt holds certificates to trust.
type CARef struct {
	// Kind is Secret (the default) or ConfigMap. A ConfigMap is looked at once a minute.
	// +optional
	Kind CARefKind `json:"kind,omitempty"`
	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
}

// AuthSpec says who may come in.
//
// +kubebuilder:validation:ExactlyOneOf=secretRefs;anonymous
// +kubebuilder:validation:XValidation:rule="has(self.secretRefs) || (!has(self.realm) && !has(self.readOnlyUsers) && !has(self.anonymousPull))",message="realm, readOnlyUsers and anonymousPull go with secretRefs"
type AuthSpec struct {
	// SecretRefs name Secrets with users: Opaque ones with htpasswd lines of bcrypt hashes, or kubernetes.io/basic-auth.
	// They are merged; where a user is in several, the first holds. Changes take effect without a restart.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	SecretRefs []AuthSecretRef `json:"secretRefs,omitempty"`
	// Anonymous lets everybody pull, and nobody push.
	// +optional
	Anonymous *AnonymousSpec `json:"anonymous,omitempty"`
	// Realm is what browsers show when they ask for the password.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[^"\\\r\n]*$`
	Realm string `json:"realm,omitempty"`
	// ReadOnlyUsers may pull, but not push or delete.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:Pattern=`^[^:\r\n]+$`
	ReadOnlyUsers []string `json:"readOnlyUsers,omitempty"`
	// AnonymousPull lets everybody pull; pushing needs a user.
	// +optional
	AnonymousPull bool `json:"anonymousPull,omitempty"`
}

// AnonymousSpec has no settings.
type AnonymousSpec struct{}

// AuthSecretRef names a Secret with users.
type AuthSecretRef struct {
	// Name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
	// Key with the htpasswd lines; htpasswd if left out. Not for Secrets of type kubernetes.io/basic-auth.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._A-Za-z0-9]+$`
	Key string `json:"key,omitempty"`
}

// TLSVersion is a version of TLS.
// +kubebuilder:validation:Enum="1.2";"1.3"
type TLSVersion string

// TLSSpec is the certificate that clients see.
//
// +kubebuilder:validation:ExactlyOneOf=secretRef;letsEncrypt;issuerRef;selfSigned;disabled
type TLSSpec struct {
	// SecretRef names a Secret of type kubernetes.io/tls. Changes take effect without a restart.
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
	// LetsEncrypt lets the registry obtain certificates from Let's Encrypt, or another ACME server.
	// +optional
	LetsEncrypt *LetsEncryptSpec `json:"letsEncrypt,omitempty"`
	// IssuerRef lets cert-manager issue the certificate.
	// +optional
	IssuerRef *IssuerRef `json:"issuerRef,omitempty"`
	// SelfSigned uses a certificate authority that the operator makes, keeps and publishes.
	// +optional
	SelfSigned *SelfSignedSpec `json:"selfSigned,omitempty"`
	// Disabled serves plain HTTP: for an Ingress or a Gateway that ends TLS, or for a network that is trusted.
	// +optional
	Disabled *DisabledSpec `json:"disabled,omitempty"`
	// MinimumVersion that clients must speak: "1.2" (the default) or "1.3".
	// +optional
	MinimumVersion TLSVersion `json:"minimumVersion,omitempty"`
	// ClientCARef names the Secret or ConfigMap whose ca.crt clients must show a certificate of.
	// +optional
	ClientCARef *CARef `json:"clientCARef,omitempty"`
}

// LetsEncryptSpec is an account with an ACME server.
type LetsEncryptSpec struct {
	// Email that the server warns when a certificate is about to expire.
	// +optional
	// +kubebuilder:validation:MaxLength=320
	// +kubebuilder:validation:Pattern=`^[^@\s]+@[^@\s]+$`
	Email string `json:"email,omitempty"`
	// DirectoryURL of the ACME server; Let's Encrypt if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/\S*)?$`
	DirectoryURL string `json:"directoryURL,omitempty"`
	// CARef names the Secret or ConfigMap whose ca.crt the ACME server's own certificate is checked against.
	// +optional
	CARef *CARef `json:"caRef,omitempty"`
}

// IssuerRef names an issuer of cert-manager, and says what to ask it for.
//
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || duration(self.duration) >= duration('1h')",message="cert-manager issues certificates for an hour at least"
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || duration(self.renewBefore) >= duration('5m')",message="cert-manager renews certificates five minutes before their end at the latest"
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || duration(self.renewBefore) < (has(self.duration) ? duration(self.duration) : duration('2160h'))",message="renewBefore must be less than duration, which is 2160h if left out"
type IssuerRef struct {
	// Name of the issuer.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
	// Kind is Issuer (the default), ClusterIssuer, or that of another group.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9]*$`
	Kind string `json:"kind,omitempty"`
	// Group of the issuer; cert-manager.io if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Group string `json:"group,omitempty"`
	// Duration of the certificate; the issuer's, or 2160h, if left out.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(0|([0-9]{1,5}(\.[0-9]{1,9})?(ms|s|m|h)){1,4})$`
	Duration *metav1.Duration `json:"duration,omitempty"`
	// RenewBefore is how long before its end the certificate is renewed; a third of its life if left out.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(0|([0-9]{1,5}(\.[0-9]{1,9})?(ms|s|m|h)){1,4})$`
	RenewBefore *metav1.Duration `json:"renewBefore,omitempty"`
	// PrivateKey of the certificate; ECDSA of 256 bits, another one with each certificate, if left out.
	// +optional
	PrivateKey *PrivateKeySpec `json:"privateKey,omitempty"`
}

// PrivateKeySpec is the key of a certificate that cert-manager issues.
//
// +kubebuilder:validation:XValidation:rule="!has(self.size) || (has(self.algorithm) && self.algorithm == 'RSA' ? self.size in [2048, 3072, 4096, 8192] : self.size in [256, 384, 521])",message="size is 2048, 3072, 4096 or 8192 for RSA, and 256, 384 or 521 for ECDSA"
// +kubebuilder:validation:XValidation:rule="!has(self.size) || !has(self.algorithm) || self.algorithm != 'Ed25519'",message="keys of Ed25519 have one size: leave it out"
type PrivateKeySpec struct {
	// Algorithm is ECDSA (the default), RSA or Ed25519.
	// +optional
	// +kubebuilder:validation:Enum=ECDSA;RSA;Ed25519
	Algorithm string `json:"algorithm,omitempty"`
	// Size in bits; 256 for ECDSA and 2048 for RSA if left out.
	// +optional
	// +kubebuilder:validation:Minimum=256
	// +kubebuilder:validation:Maximum=8192
	Size int32 `json:"size,omitempty"`
	// RotationPolicy is Always (the default), for another key with each certificate, or Never.
	// +optional
	// +kubebuilder:validation:Enum=Always;Never
	RotationPolicy string `json:"rotationPolicy,omitempty"`
}

// SelfSignedSpec has no settings.
type SelfSignedSpec struct{}

// DisabledSpec has no settings.
type DisabledSpec struct{}
