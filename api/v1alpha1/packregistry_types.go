package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// PackRegistry is a registry for packs: versioned bundles of charts, manifests and values that management consoles,
// clusters and command lines fetch over HTTPS.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=packreg,categories=packregistry
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Storage",type=string,JSONPath=`.status.storage`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Image",type=string,priority=1,JSONPath=`.status.image`
// +kubebuilder:printcolumn:name="Expiry",type=string,priority=1,JSONPath=`.status.certificate.notAfter`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$') && self.metadata.name.size() <= 50",message="the name becomes a Service's: use at most 50 lower-case letters, digits and '-', beginning with a letter"
type PackRegistry struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the registry should be.
	// +required
	Spec PackRegistrySpec `json:"spec"`

	// Status is what the operator last saw of it.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status PackRegistryStatus `json:"status,omitempty"`
}

// PackRegistryList is a list of PackRegistry objects.
//
// +kubebuilder:object:root=true
type PackRegistryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PackRegistry `json:"items"`
}

// PackRegistrySpec is what the registry should be. Storage, auth and tls have no default, so that nothing is lost or
// open because it was left out.
//
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || self.replicas <= 1 || !has(self.storage.inMemory)",message="storage.inMemory is the memory of one process: use replicas: 1, or another storage"
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || self.replicas <= 1 || !has(self.storage.persistentVolumeClaim) || has(self.storage.persistentVolumeClaim.claimName) || (has(self.storage.persistentVolumeClaim.accessModes) && self.storage.persistentVolumeClaim.accessModes.exists(m, m == 'ReadWriteMany'))",message="more than one replica needs storage that they can share: use accessModes: [ReadWriteMany] with a class that offers it, or storage.s3"
// +kubebuilder:validation:XValidation:rule="!has(self.tls.letsEncrypt) || (has(self.hosts) && self.hosts.size() > 0)",message="tls.letsEncrypt needs hosts to obtain a certificate for"
// +kubebuilder:validation:XValidation:rule="!has(self.tls.letsEncrypt) || !has(self.storage.inMemory)",message="tls.letsEncrypt with storage.inMemory would order a new certificate at every start: use other storage, or tls.issuerRef"
// +kubebuilder:validation:XValidation:rule="!has(self.tls.letsEncrypt) || !has(self.ingress)",message="behind an Ingress the registry cannot answer Let's Encrypt: use tls.issuerRef"
// +kubebuilder:validation:XValidation:rule="!has(self.ingress) || !has(self.gateway)",message="use ingress or gateway, not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.ingress) || has(self.gateway)) || (has(self.hosts) && self.hosts.size() > 0)",message="ingress and gateway need hosts to route"
// +kubebuilder:validation:XValidation:rule="!has(self.tls.minimumVersion) && !has(self.tls.clientCARef) || !(has(self.tls.disabled) || has(self.ingress))",message="tls.minimumVersion and tls.clientCARef hold where the registry's pods serve TLS: not with tls.disabled or ingress"
type PackRegistrySpec struct {
	// Hosts are the names that clients use. The first is canonical: it goes into URLs and into status.url.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`
	Hosts []string `json:"hosts,omitempty"`

	// Replicas is how many pods serve. More than one needs storage that pods can share.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Replicas *int32 `json:"replicas,omitempty"`

	// Image is the registry's image. The default is the one that was released with the operator.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// Storage is where packs are kept: exactly one of its fields.
	// +required
	Storage StorageSpec `json:"storage"`

	// Auth says who may come in: exactly one of secretRefs and anonymous.
	// +required
	Auth AuthSpec `json:"auth"`

	// TLS is the certificate that clients see: exactly one of secretRef, letsEncrypt, issuerRef, selfSigned, disabled.
	// +required
	TLS TLSSpec `json:"tls"`

	// Service is how the registry is reached inside the cluster, and from outside without an Ingress or a Gateway. Its
	// port is 443 where the pods serve TLS, else 80.
	// +optional
	Service ServiceSpec `json:"service,omitempty"`

	// Ingress makes an Ingress that ends TLS on 443.
	// +optional
	Ingress *IngressSpec `json:"ingress,omitempty"`

	// Gateway makes a TLSRoute where the pods serve TLS, or an HTTPRoute where tls is disabled.
	// +optional
	Gateway *GatewaySpec `json:"gateway,omitempty"`

	// Headers are sent with every response, over the registry's six defaults. An empty list removes a default.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.size() <= 128 && name.matches('^[A-Za-z0-9!#$%&*+.^_|~-]+$'))",message="a header's name holds letters, digits and '-'"
	Headers map[string]HeaderValues `json:"headers,omitempty"`

	// Log says what the registry logs.
	// +optional
	Log LogSpec `json:"log,omitempty"`

	// Config is anything else of the registry's configuration file, as documented there. What a field of this spec says
	// cannot be said here too.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Type=object
	Config *runtime.RawExtension `json:"config,omitempty"`

	// GarbageCollection says when content that nothing refers to is removed.
	// +optional
	GarbageCollection *GarbageCollectionSpec `json:"garbageCollection,omitempty"`

	// Pod is how the registry's pods run.
	// +optional
	Pod PodSpec `json:"pod,omitempty"`

	// PodDisruptionBudget keeps drains from stopping all replicas at once. There is one by default above one replica.
	// +optional
	PodDisruptionBudget *PodDisruptionBudgetSpec `json:"podDisruptionBudget,omitempty"`

	// NetworkPolicy limits who may reach the pods.
	// +optional
	NetworkPolicy *NetworkPolicySpec `json:"networkPolicy,omitempty"`

	// Monitoring publishes the registry's metrics.
	// +optional
	Monitoring *MonitoringSpec `json:"monitoring,omitempty"`

	// Suspend stops the operator from changing anything. The registry goes on as it is.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// HeaderValues are the values of one header, each sent as a line of its own.
//
// +kubebuilder:validation:MaxItems=16
// +kubebuilder:validation:items:MaxLength=4096
type HeaderValues []string

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
// +kubebuilder:validation:XValidation:rule="!has(self.size) || !has(oldSelf.size) || quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",message="a claim can grow, but not shrink"
// +kubebuilder:validation:XValidation:rule="!has(self.claimName) || !has(self.deletionPolicy) || self.deletionPolicy == 'Retain'",message="a claim that was not made by the operator is not deleted by it: deletionPolicy: Delete excludes claimName"
type PersistentVolumeClaimSpec struct {
	// Size of the claim. It can grow where the storage class can expand volumes.
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`
	// StorageClassName; the cluster's default class if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=253
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
	ClaimName string `json:"claimName,omitempty"`
	// DeletionPolicy says what becomes of the claim when the PackRegistry is deleted: Retain (the default) or Delete.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// S3Spec is a bucket.
//
// +kubebuilder:validation:XValidation:rule="self.bucket == oldSelf.bucket && has(self.rootDirectory) == has(oldSelf.rootDirectory) && (!has(self.rootDirectory) || self.rootDirectory == oldSelf.rootDirectory)",message="bucket and rootDirectory cannot be changed: the packs are elsewhere"
type S3Spec struct {
	// Bucket that exists.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	Bucket string `json:"bucket"`
	// Region of the bucket.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Region string `json:"region,omitempty"`
	// Endpoint is the URL of an S3-compatible server; AWS if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https?://[^/]+/?$`
	Endpoint string `json:"endpoint,omitempty"`
	// RootDirectory is a prefix of all keys.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	RootDirectory string `json:"rootDirectory,omitempty"`
	// Encrypt asks the server to encrypt objects at rest.
	// +optional
	Encrypt bool `json:"encrypt,omitempty"`
	// KMSKeyID encrypts with a key of AWS KMS.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	KMSKeyID string `json:"kmsKeyID,omitempty"`
	// ForcePathStyle puts the bucket into the path instead of the host; the default where there is an endpoint.
	// +optional
	ForcePathStyle *bool `json:"forcePathStyle,omitempty"`
	// StorageClass of the objects.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	StorageClass string `json:"storageClass,omitempty"`
	// SecretRef names a Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN if there
	// is one. Without it the pod's own identity is used.
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
	// CARef names a Secret whose ca.crt the endpoint's certificate is checked against.
	// +optional
	CARef *SecretRef `json:"caRef,omitempty"`
}

// InMemorySpec has no settings.
type InMemorySpec struct{}

// SecretRef names a Secret of the PackRegistry's namespace.
type SecretRef struct {
	// Name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
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
	Name string `json:"name"`
	// Key with the htpasswd lines; htpasswd if left out. Not for Secrets of type kubernetes.io/basic-auth.
	// +optional
	// +kubebuilder:validation:MaxLength=253
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
	// ClientCARef names a Secret whose ca.crt clients must show a certificate of.
	// +optional
	ClientCARef *SecretRef `json:"clientCARef,omitempty"`
}

// LetsEncryptSpec is an account with an ACME server.
type LetsEncryptSpec struct {
	// Email that the server warns when a certificate is about to expire.
	// +optional
	// +kubebuilder:validation:MaxLength=320
	Email string `json:"email,omitempty"`
	// DirectoryURL of the ACME server; Let's Encrypt if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://.+$`
	DirectoryURL string `json:"directoryURL,omitempty"`
	// CARef names a Secret whose ca.crt the ACME server's own certificate is checked against.
	// +optional
	CARef *SecretRef `json:"caRef,omitempty"`
}

// IssuerRef names an issuer of cert-manager.
type IssuerRef struct {
	// Name of the issuer.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Kind is Issuer (the default), ClusterIssuer, or that of another group.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// Group of the issuer; cert-manager.io if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}

// SelfSignedSpec has no settings.
type SelfSignedSpec struct{}

// DisabledSpec has no settings.
type DisabledSpec struct{}

// ServiceSpec is the registry's Service.
//
// +kubebuilder:validation:XValidation:rule="!has(self.nodePort) || (has(self.type) && self.type != 'ClusterIP')",message="nodePort needs type NodePort or LoadBalancer"
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerClass) && !has(self.loadBalancerSourceRanges) && !has(self.externalTrafficPolicy) || (has(self.type) && self.type != 'ClusterIP')",message="loadBalancerClass, loadBalancerSourceRanges and externalTrafficPolicy need a Service that is reached from outside: type LoadBalancer or NodePort"
type ServiceSpec struct {
	// Type of the Service; ClusterIP if left out.
	// +optional
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`
	// Port of the Service; 443 where the pods serve TLS, else 80.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// NodePort on every node; chosen by the cluster if left out.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	NodePort int32 `json:"nodePort,omitempty"`
	// Annotations of the Service.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
	// LoadBalancerClass of the Service.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`
	// LoadBalancerSourceRanges that may connect, in CIDR notation.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	LoadBalancerSourceRanges []string `json:"loadBalancerSourceRanges,omitempty"`
	// ExternalTrafficPolicy Local keeps clients' addresses.
	// +optional
	// +kubebuilder:validation:Enum=Cluster;Local
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`
}

// IngressSpec is the registry's Ingress.
type IngressSpec struct {
	// ClassName of the Ingress; the cluster's default class if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ClassName *string `json:"className,omitempty"`
	// Annotations of the Ingress.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// GatewaySpec is the registry's route.
type GatewaySpec struct {
	// ParentRefs are the Gateways, or listeners of them, that route to the registry.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	ParentRefs []ParentRef `json:"parentRefs"`
}

// ParentRef names a Gateway.
type ParentRef struct {
	// Name of the Gateway.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Namespace of the Gateway; that of the PackRegistry if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// SectionName is a listener of the Gateway.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SectionName string `json:"sectionName,omitempty"`
	// Port of a listener of the Gateway.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// LogSpec says what the registry logs.
type LogSpec struct {
	// Level is error, warn, info (the default) or debug.
	// +optional
	// +kubebuilder:validation:Enum=error;warn;info;debug
	Level string `json:"level,omitempty"`
	// Format is json (the default) or text.
	// +optional
	// +kubebuilder:validation:Enum=json;text
	Format string `json:"format,omitempty"`
	// Fields are added to every line.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Fields map[string]string `json:"fields,omitempty"`
}

// GarbageCollectionSpec says when content that nothing refers to is removed.
type GarbageCollectionSpec struct {
	// Interval between collections.
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// KeepUntagged is how long a manifest without a tag stays.
	// +optional
	KeepUntagged *metav1.Duration `json:"keepUntagged,omitempty"`
}

// PodSpec is how the registry's pods run.
type PodSpec struct {
	// Resources of the registry's container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// NodeSelector that nodes must match.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations of the pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Affinity of the pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// TopologySpreadConstraints of the pods. A constraint without a labelSelector means the registry's own pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// PriorityClassName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// ImagePullSecrets of the pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	// ImagePullPolicy of the registry's container; IfNotPresent if left out.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// Labels added to the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('app.kubernetes.io/') && !k.startsWith('packregistry.dev/'))",message="labels of app.kubernetes.io and packregistry.dev are the operator's"
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations added to the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('packregistry.dev/'))",message="annotations of packregistry.dev are the operator's"
	Annotations map[string]string `json:"annotations,omitempty"`
	// Env adds variables to the registry's container. REGISTRY_… variables are not for here: use config.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(e, !e.name.startsWith('REGISTRY_'))",message="REGISTRY_ variables would go against the rest of the spec: use its fields, or config"
	Env []corev1.EnvVar `json:"env,omitempty"`
	// ServiceAccountName of the pods. They are given no token.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// SecurityContext replaces the pods' user, group and file system group: 65532 each, unless the platform assigns them
	// (give an empty one on OpenShift).
	// +optional
	SecurityContext *PodSecurityContext `json:"securityContext,omitempty"`
	// TerminationGracePeriodSeconds; 45 if left out, which lets transfers finish.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=3600
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
}

// PodSecurityContext is the part of a pod's security context that may be chosen; the rest is as restricted as it can be.
type PodSecurityContext struct {
	// RunAsUser is the user of the registry's process.
	// +optional
	// +kubebuilder:validation:Minimum=1
	RunAsUser *int64 `json:"runAsUser,omitempty"`
	// RunAsGroup is the group of the registry's process.
	// +optional
	// +kubebuilder:validation:Minimum=1
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`
	// FSGroup owns the volume.
	// +optional
	// +kubebuilder:validation:Minimum=1
	FSGroup *int64 `json:"fsGroup,omitempty"`
	// SupplementalGroups of the process.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	SupplementalGroups []int64 `json:"supplementalGroups,omitempty"`
}

// PodDisruptionBudgetSpec is the registry's PodDisruptionBudget.
type PodDisruptionBudgetSpec struct {
	// Enabled; true above one replica if left out.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
}

// NetworkPolicySpec is the registry's NetworkPolicy.
type NetworkPolicySpec struct {
	// Enabled makes a NetworkPolicy that admits only the registry's own ports.
	// +optional
	Enabled bool `json:"enabled,omitempty"`
}

// MonitoringSpec publishes metrics.
type MonitoringSpec struct {
	// ServiceMonitor makes a ServiceMonitor for the Prometheus operator, where that is installed.
	// +optional
	ServiceMonitor bool `json:"serviceMonitor,omitempty"`
}

// PackRegistryStatus is what the operator last saw.
type PackRegistryStatus struct {
	// ObservedGeneration is the generation of the spec that the conditions speak of; -1 before the operator's first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Ready sums up StorageReady, AuthReady, TLSReady, Available and Exposed; Reconciling and Stalled are
	// there only while they are true.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// URL that clients can use; empty until there is an address.
	// +optional
	URL string `json:"url,omitempty"`
	// Replicas that exist.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// ReadyReplicas answer.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`
	// Selector of the pods, for autoscalers.
	// +optional
	Selector string `json:"selector,omitempty"`
	// Image that runs.
	// +optional
	Image string `json:"image,omitempty"`
	// Storage that is used.
	// +optional
	Storage string `json:"storage,omitempty"`
	// Certificate that clients see.
	// +optional
	Certificate *CertificateStatus `json:"certificate,omitempty"`
}

// CertificateStatus is what the certificate says of itself.
type CertificateStatus struct {
	// NotAfter is when it expires.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// DNSNames it is for.
	// +optional
	// +listType=atomic
	DNSNames []string `json:"dnsNames,omitempty"`
	// Issuer is who signed it.
	// +optional
	Issuer string `json:"issuer,omitempty"`
}
