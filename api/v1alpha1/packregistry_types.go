package v1alpha1

import (
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
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.spec.replicas`
// +kubebuilder:printcolumn:name="ReadyReplicas",type=integer,JSONPath=`.status.readyReplicas`
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

	// DecodeError says what of the object could not be decoded, and was left out. It is never sent anywhere.
	DecodeError string `json:"-"`
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
// +kubebuilder:validation:XValidation:rule="!(has(self.ingress) || has(self.gateway)) || !has(self.hosts) || !self.hosts.exists(h, isIP(h))",message="ingress and gateway route by names: leave IP addresses out of hosts, or use the Service alone"
// +kubebuilder:validation:XValidation:rule="!has(self.tls.letsEncrypt) || !has(self.hosts) || !self.hosts.exists(h, isIP(h))",message="tls.letsEncrypt obtains certificates for names only: leave IP addresses out of hosts, or use tls.selfSigned, tls.issuerRef or tls.secretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.tls.minimumVersion) && !has(self.tls.clientCARef) || !(has(self.tls.disabled) || has(self.ingress))",message="tls.minimumVersion and tls.clientCARef hold where the registry's pods serve TLS: not with tls.disabled or ingress"
type PackRegistrySpec struct {
	// Hosts are the names, or IP addresses, that clients use. The first is canonical: it goes into URLs and into status.url.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*|[0-9a-f:]+:[0-9a-f:.]*)$`
	// +kubebuilder:validation:XValidation:rule="self.all(h, self.exists_one(other, other == h))",message="a host is there twice"
	// +kubebuilder:validation:XValidation:rule="self.all(h, !h.contains(':') && !h.matches('(^|[.])[0-9]+$') || isIP(h) && ip.isCanonical(h))",message="what has ':' or ends in a number is an IP address: write it as 192.0.2.1 or 2001:db8::1"
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
	// +kubebuilder:validation:Pattern=`^\S+$`
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

	// Packs says where packs are served.
	// +optional
	Packs PacksSpec `json:"packs,omitempty"`

	// UI is the pages that browsers are shown below /ui/.
	// +optional
	UI UISpec `json:"ui,omitempty"`

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

	// Metadata is added to all objects that the operator makes, for policies that require it. Pods have labels and annotations of
	// their own in spec.pod.
	// +optional
	Metadata ObjectMetadata `json:"metadata,omitempty"`

	// Suspend stops the operator from changing how the registry runs. Users, certificates and the claim's deletionPolicy are
	// kept up to date all the same.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// HeaderValues are the values of one header, each sent as a line of its own.
//
// +kubebuilder:validation:MaxItems=16
// +kubebuilder:validation:items:MaxLength=4096
type HeaderValues []string

// PacksSpec says where packs are served.
type PacksSpec struct {
	// BasePaths are where packs are served too, as consoles that synchronize an OCI registry ask for them: with prod the pack p
	// is /v2/prod/spectro-packs/archive/p too. Nothing else can be below a base path.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=100
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`
	// +kubebuilder:validation:XValidation:rule="self.all(b, !('/' + b + '/').contains('/spectro-packs/'))",message="leave spectro-packs out of a base path: clients add it themselves"
	BasePaths []string `json:"basePaths,omitempty"`
}

// UISpec is the pages that browsers are shown below /ui/.
type UISpec struct {
	// Enabled is whether there are pages; there are, unless this is false.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// Title is the name at the head of every page; PackRegistry if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=60
	// +kubebuilder:validation:Pattern=`^\P{Cc}*$`
	Title string `json:"title,omitempty"`
	// Actions are what users may do on the pages, besides looking, as far as the registry's access rules let them: tag, untag and
	// delete. None if left out.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:Enum=tag;untag;delete
	Actions []string `json:"actions,omitempty"`
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
	// Interval between collections, such as 24h; units are h, m, s and ms.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(0|([0-9]{1,5}(\.[0-9]{1,9})?(ms|s|m|h)){1,4})$`
	Interval *metav1.Duration `json:"interval,omitempty"`
	// KeepUntagged is how long a manifest without a tag stays, such as 168h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(0|([0-9]{1,5}(\.[0-9]{1,9})?(ms|s|m|h)){1,4})$`
	KeepUntagged *metav1.Duration `json:"keepUntagged,omitempty"`
}

// PackRegistryStatus is what the operator last saw.
type PackRegistryStatus struct {
	// ObservedGeneration is the generation of the spec that the conditions speak of; -1 before the operator's first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// AppliedGeneration is the generation of the spec that the pods were last brought in line with.
	// +optional
	AppliedGeneration int64 `json:"appliedGeneration,omitempty"`
	// Conditions: Ready sums up StorageReady, AuthReady, TLSReady, Available and Exposed; Reconciling, Stalled and Degraded
	// are there only while they are true.
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
	// Addresses of the load balancer, or of the Ingress, that lead to the registry.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Addresses []Address `json:"addresses,omitempty"`
	// Capacity of the volume.
	// +optional
	Capacity *resource.Quantity `json:"capacity,omitempty"`
	// Used part of the volume's file system, as one of the pods sees it, in steps of a hundredth.
	// +optional
	Used *resource.Quantity `json:"used,omitempty"`
	// Certificate that clients see.
	// +optional
	Certificate *CertificateStatus `json:"certificate,omitempty"`
	// Operator is the installation of the operator that looks after this PackRegistry. Others leave it alone as long as that
	// one runs.
	// +optional
	Operator *OperatorReference `json:"operator,omitempty"`
}

// AddressType is what an address is.
// +kubebuilder:validation:Enum=IPAddress;Hostname
type AddressType string

// Types of addresses.
const (
	AddressIP       AddressType = "IPAddress"
	AddressHostname AddressType = "Hostname"
)

// Address is where the registry is reached from outside.
type Address struct {
	// Type is IPAddress or Hostname.
	// +required
	Type AddressType `json:"type"`
	// Value of the address.
	// +required
	Value string `json:"value"`
}

// OperatorScope is where an installation of the operator works.
type OperatorScope string

const (
	// OperatorScopeCluster is all namespaces.
	OperatorScopeCluster OperatorScope = "Cluster"
	// OperatorScopeNamespaces is those that the installation was given. It goes before one of all namespaces.
	OperatorScopeNamespaces OperatorScope = "Namespaces"
)

// OperatorReference names an installation of the operator.
type OperatorReference struct {
	// Namespace that it is installed in.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Name of the installation.
	// +optional
	Name string `json:"name,omitempty"`
	// Scope is Cluster, or Namespaces for one that looks after some namespaces only.
	// +optional
	Scope OperatorScope `json:"scope,omitempty"`
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
	// IPAddresses it is for.
	// +optional
	// +listType=atomic
	IPAddresses []string `json:"ipAddresses,omitempty"`
	// Issuer is who signed it.
	// +optional
	Issuer string `json:"issuer,omitempty"`
}
