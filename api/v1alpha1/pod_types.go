package v1alpha1

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// PodSpec is how the registry's pods run.
//
// +kubebuilder:validation:XValidation:rule="!has(self.dnsPolicy) || self.dnsPolicy != 'None' || has(self.dnsConfig)",message="dnsPolicy None needs dnsConfig with nameservers"
type PodSpec struct {
	// Resources of the registry's container; if left out, the operator's default (--registry-default-resources), which is none.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// NodeSelector that nodes must match.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`
	// Tolerations of the pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Affinity of the pods. Above one replica, without a podAntiAffinity, zones without a replica are preferred; {} drops that.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// TopologySpreadConstraints of the pods; above one replica, other nodes where they can be had, if left out. A constraint
	// without a labelSelector means the registry's own pods; [] drops the default.
	// +optional
	// +listType=map
	// +listMapKey=topologyKey
	// +listMapKey=whenUnsatisfiable
	// +kubebuilder:validation:MaxItems=16
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// PriorityClassName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// ImagePullSecrets of the pods.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	// ImagePullPolicy of the registry's container; IfNotPresent if left out.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// Labels added to the pods.
	// +optional
	Labels Labels `json:"labels,omitempty"`
	// Annotations added to the pods.
	// +optional
	Annotations Annotations `json:"annotations,omitempty"`
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
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// SecurityContext of the pods. User, group and file system group are 65532 each, unless the operator has other defaults
	// (--registry-default-pod-security-context); {} or null drops them, for platforms that assign them (OpenShift), and null for
	// one of the three drops that one.
	// +optional
	// +nullable
	SecurityContext *PodSecurityContext `json:"securityContext,omitempty"`
	// TerminationGracePeriodSeconds; 45 if left out. Pods wait 5 seconds before they stop to accept, and then up to 30 for what is in
	// flight, so that less would cut transfers off.
	// +optional
	// +kubebuilder:validation:Minimum=35
	// +kubebuilder:validation:Maximum=3600
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
	// Volumes added to the pods, as a pod has them in spec.volumes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Volumes []Object `json:"volumes,omitempty"`
	// VolumeMounts added to the registry's container, as a container has them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	VolumeMounts []Object `json:"volumeMounts,omitempty"`
	// InitContainers run before the registry's container, or beside it with restartPolicy Always.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	InitContainers []Object `json:"initContainers,omitempty"`
	// Containers run beside the registry's.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Containers []Object `json:"containers,omitempty"`
	// HostAliases are names that the pods find without DNS.
	// +optional
	// +listType=map
	// +listMapKey=ip
	// +kubebuilder:validation:MaxItems=64
	HostAliases []corev1.HostAlias `json:"hostAliases,omitempty"`
	// DNSPolicy of the pods; ClusterFirst if left out.
	// +optional
	// +kubebuilder:validation:Enum=ClusterFirst;Default;None
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`
	// DNSConfig of the pods.
	// +optional
	DNSConfig *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`
	// RuntimeClassName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	RuntimeClassName string `json:"runtimeClassName,omitempty"`
	// SchedulerName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	SchedulerName string `json:"schedulerName,omitempty"`
	// Probes are the timings of the registry's probes; what is left out stays as it is.
	// +optional
	Probes ProbesSpec `json:"probes,omitempty"`
}

// UnmarshalJSON distinguishes a securityContext that is null from one that is left out.
func (p *PodSpec) UnmarshalJSON(data []byte) error {
	type plain PodSpec // has no methods
	if err := utiljson.Unmarshal(data, (*plain)(p)); err != nil {
		return err
	}
	var given struct {
		SecurityContext json.RawMessage `json:"securityContext"`
	}
	if err := json.Unmarshal(data, &given); err != nil {
		return err
	}
	if string(given.SecurityContext) == "null" {
		p.SecurityContext = &PodSecurityContext{}
	}
	return nil
}

// ProbesSpec are the timings of the registry's probes.
type ProbesSpec struct {
	// Startup: every second, 120 times at most, until the registry is ready for the first time.
	// +optional
	Startup ProbeTiming `json:"startup,omitempty"`
	// Readiness: every 5 seconds; a pod that fails twice gets no more requests.
	// +optional
	Readiness ProbeTiming `json:"readiness,omitempty"`
	// Liveness: every 5 seconds; a registry that fails 6 times is started anew.
	// +optional
	Liveness ProbeTiming `json:"liveness,omitempty"`
}

// ProbeTiming is when a probe is made, and how often it may fail.
type ProbeTiming struct {
	// InitialDelaySeconds before the first probe.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	InitialDelaySeconds *int32 `json:"initialDelaySeconds,omitempty"`
	// PeriodSeconds between probes.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	PeriodSeconds *int32 `json:"periodSeconds,omitempty"`
	// TimeoutSeconds of one probe.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`
	// FailureThreshold is how many probes must fail one after the other.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	FailureThreshold *int32 `json:"failureThreshold,omitempty"`
}

// PodSecurityContext is the part of a pod's security context that may be chosen; the rest is as restricted as it can be.
type PodSecurityContext struct {
	// RunAsUser is the user of the registry's process; 65532 if left out.
	// +optional
	// +nullable
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	RunAsUser *int64 `json:"runAsUser,omitempty"`
	// RunAsGroup is the group of the registry's process; 65532 if left out.
	// +optional
	// +nullable
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`
	// FSGroup owns the volume; 65532 if left out.
	// +optional
	// +nullable
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	FSGroup *int64 `json:"fsGroup,omitempty"`
	// SupplementalGroups of the process.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=2147483647
	SupplementalGroups []int64 `json:"supplementalGroups,omitempty"`

	// Nulls are the fields that are null: their defaults are dropped. They are never sent anywhere.
	Nulls []string `json:"-"`
}

// UnmarshalJSON distinguishes what is null from what is left out.
func (c *PodSecurityContext) UnmarshalJSON(data []byte) error {
	type plain PodSecurityContext // has no methods
	if err := utiljson.Unmarshal(data, (*plain)(c)); err != nil {
		return err
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(data, &given); err != nil {
		return err
	}
	c.Nulls = nil
	for _, name := range []string{"runAsUser", "runAsGroup", "fsGroup"} {
		if string(given[name]) == "null" {
			c.Nulls = append(c.Nulls, name)
		}
	}
	return nil
}

// IsEmpty says whether nothing is given, so that all defaults are dropped.
func (c *PodSecurityContext) IsEmpty() bool {
	return c.RunAsUser == nil && c.RunAsGroup == nil && c.FSGroup == nil && len(c.SupplementalGroups) == 0 && len(c.Nulls) == 0
}
