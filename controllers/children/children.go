// Package children builds the objects that a PackRegistry consists of in the cluster. Its functions are pure: the same
// input gives the same object, and nothing is read or written.
//
// Each object is a server-side apply configuration that holds the fields the operator has an opinion on, and no other:
// what is left out is left to the cluster, to autoscalers, to injectors of sidecars.
package children

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net"

	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"

	"packregistry.dev/api/v1alpha1"
)

// Labels of all children. They are chosen by the operator alone: labels of the PackRegistry are not copied, because
// tools that track objects by label would take the children for theirs and prune them.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelRegistry names the PackRegistry; by it a claim that outlived its PackRegistry is found again.
	LabelRegistry = "packregistry.dev/registry"
	// LabelConfig names the configuration that a pod runs with.
	LabelConfig = "packregistry.dev/config"
	// AnnotationSecrets is set on pods, not on their template: changing it makes the kubelet look at the pod's Secrets at
	// once instead of within a minute.
	AnnotationSecrets = "packregistry.dev/secrets"

	// AnnotationSources is on the Secret of merged users: which versions of other Secrets its lines were made from.
	AnnotationSources = "packregistry.dev/sources"

	// AnnotationVersion is on the Deployment: which version of the operator rendered it.
	AnnotationVersion = "packregistry.dev/version"

	// AnnotationUpgradedFrom is on a Deployment that was rolled because the operator became another.
	AnnotationUpgradedFrom = "packregistry.dev/upgraded-from"

	// AnnotationReplicas is on the Deployment: the spec.replicas that was in effect last, so that a change of it is seen also
	// where somebody else has scaled the Deployment meanwhile.
	AnnotationReplicas = "packregistry.dev/replicas"

	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "packregistry-operator"
	// LabelOperator is on the operator's pods, whatever an install calls them: policies let them ask registries' pods.
	LabelOperator = "packregistry.dev/operator"
	appName       = "packregistry"
)

// Ports of the registry's container.
const (
	PortServe = 5000
	PortDebug = 5001
	// PortACME answers HTTP-01 challenges.
	PortACME = 5002
)

// Where the registry's container finds things.
const (
	configDir = "/etc/packregistry"
	configKey = "config.yml"
	usersDir  = "/auth"
	// UsersKey is the key of the users' Secret.
	UsersKey = "htpasswd"
	// SaltKey is beside it: random, and new with each such Secret.
	SaltKey = "salt"
	// LastGoodUsersKey is beside it too: the same users once more, from which they are restored where somebody overwrites them.
	LastGoodUsersKey = "htpasswd.last-good"
	certificateDir   = "/certs"
	clientCADir      = "/client-ca"
	// CAKey is the key of a Secret or ConfigMap that holds certificates to trust.
	CAKey   = "ca.crt"
	dataDir = "/data"
	tmpDir  = "/tmp"

	// Beside the configuration, in its Secret.
	s3CAKey        = "s3-ca.crt"
	acmeCAKey      = "acme-ca.crt"
	credentialsKey = "aws-credentials"
)

// Selector are the labels by which Services and Deployments find pods. A Deployment's selector cannot be changed.
func Selector(r *v1alpha1.PackRegistry) map[string]string {
	return map[string]string{LabelName: appName, LabelInstance: r.Name}
}

// Labels are on every child.
func Labels(r *v1alpha1.PackRegistry) map[string]string {
	labels := Selector(r)
	maps.Copy(labels, map[string]string{LabelManagedBy: ManagedBy, LabelRegistry: r.Name})
	return labels
}

// objectLabels are the labels of an object: the registry's own before those of the spec.
func objectLabels(r *v1alpha1.PackRegistry, own map[string]string, more ...v1alpha1.Labels) map[string]string {
	labels := r.Spec.Metadata.Labels.Strings()
	for _, l := range more {
		maps.Copy(labels, l.Strings())
	}
	maps.Copy(labels, own)
	return labels
}

// objectAnnotations are the annotations that the spec asks for of an object.
func objectAnnotations(r *v1alpha1.PackRegistry, more ...v1alpha1.Annotations) map[string]string {
	annotations := map[string]string{}
	maps.Copy(annotations, r.Spec.Metadata.Annotations)
	for _, a := range more {
		maps.Copy(annotations, a)
	}
	return annotations
}

// KeptLabels are on children that may outlive their PackRegistry, and have no owner then. LabelInstance is not among them:
// Argo CD, where it tracks by label, takes what carries it for part of the Application of that name, and prunes what is not
// in git. A child that has an owner is safe from that.
func KeptLabels(r *v1alpha1.PackRegistry) map[string]string {
	labels := Labels(r)
	delete(labels, LabelInstance)
	return labels
}

// owner makes a child go with its PackRegistry.
func owner(r *v1alpha1.PackRegistry) *metav1apply.OwnerReferenceApplyConfiguration {
	return metav1apply.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("PackRegistry").
		WithName(r.Name).WithUID(r.UID).
		WithController(true).WithBlockOwnerDeletion(true)
}

// DeploymentName is the name of the Deployment.
func DeploymentName(r *v1alpha1.PackRegistry) string { return r.Name }

// ServiceName is the name of the Service, and so the registry's name in the cluster's DNS.
func ServiceName(r *v1alpha1.PackRegistry) string { return r.Name }

// UsersName is the name of the Secret that the users are merged into. It is none that people would give their own.
func UsersName(r *v1alpha1.PackRegistry) string { return r.Name + "-registry-users" }

// TLSSecret is the Secret with the certificate that clients see, whoever shows it to them; empty where pods obtain it
// themselves, or there is none.
func TLSSecret(r *v1alpha1.PackRegistry) string {
	switch tls := r.Spec.TLS; {
	case tls.SecretRef != nil:
		return tls.SecretRef.Name
	case tls.SelfSigned != nil, tls.IssuerRef != nil:
		return r.Name + "-registry-tls"
	}
	return ""
}

// CertificateSecret is the Secret with the certificate that pods serve; empty where they obtain it themselves, or serve none.
func CertificateSecret(r *v1alpha1.PackRegistry) string {
	if !ServesTLS(r) {
		return ""
	}
	return TLSSecret(r)
}

// CAName is the name of the Secret with the CA of tls.selfSigned, and of the ConfigMap that publishes its certificate.
func CAName(r *v1alpha1.PackRegistry) string { return r.Name + "-registry-ca" }

// ServiceNames are the names by which the cluster's own clients know the registry.
func ServiceNames(r *v1alpha1.PackRegistry) []string {
	service := ServiceName(r) + "." + r.Namespace + ".svc"
	return []string{service, service + ".cluster.local"}
}

// SplitNames separates names from IP addresses: certificates have them apart.
func SplitNames(hosts []string) (names []string, addresses []net.IP) {
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			addresses = append(addresses, ip)
			continue
		}
		names = append(names, host)
	}
	return names, addresses
}

// KeptWithData says whether something that belongs to the packs stays when the PackRegistry goes, as they do.
func KeptWithData(r *v1alpha1.PackRegistry) bool {
	claim := r.Spec.Storage.PersistentVolumeClaim
	return r.Spec.Storage.InMemory == nil && (claim == nil || claim.DeletionPolicy != v1alpha1.DeletionDelete)
}

// ClaimName is the claim that packs are kept on, made by the operator or given; empty where there is none.
func ClaimName(r *v1alpha1.PackRegistry) string {
	switch c := r.Spec.Storage.PersistentVolumeClaim; {
	case c == nil:
		return ""
	case c.ClaimName != "":
		return c.ClaimName
	}
	return r.Name + "-data"
}

// ServesTLS says whether the pods themselves speak TLS.
func ServesTLS(r *v1alpha1.PackRegistry) bool {
	return r.Spec.TLS.Disabled == nil && r.Spec.Ingress == nil
}

// ServicePort is the port that clients use.
func ServicePort(r *v1alpha1.PackRegistry) int32 {
	switch {
	case r.Spec.Service.Port != 0:
		return r.Spec.Service.Port
	case ServesTLS(r):
		return 443
	}
	return 80
}

// hash is a short name for content.
func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:5])
}
