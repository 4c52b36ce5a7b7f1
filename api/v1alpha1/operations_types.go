package v1alpha1

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PodDisruptionBudgetSpec is the registry's PodDisruptionBudget.
type PodDisruptionBudgetSpec struct {
	// Enabled; true above one replica if left out. There is none for one replica: it would keep its node from being drained.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// MaxUnavailable pods, or percent of them; 1 if left out.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^(100|[1-9]?[0-9])%$`
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
	// UnhealthyPodEvictionPolicy AlwaysAllow, the default, lets pods that are not ready be evicted whatever the budget says:
	// they serve nobody, and would keep their nodes from being drained. IfHealthyBudget does not.
	// +optional
	// +kubebuilder:validation:Enum=AlwaysAllow;IfHealthyBudget
	UnhealthyPodEvictionPolicy policyv1.UnhealthyPodEvictionPolicyType `json:"unhealthyPodEvictionPolicy,omitempty"`
}

// NetworkPolicySpec is the registry's NetworkPolicy.
type NetworkPolicySpec struct {
	// Enabled makes a NetworkPolicy that admits only the registry's own ports.
	// +optional
	Enabled bool `json:"enabled,omitempty"`
	// Ingress adds rules, as a NetworkPolicy has them in spec.ingress.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Ingress []Object `json:"ingress,omitempty"`
}

// MonitoringSpec publishes metrics.
type MonitoringSpec struct {
	// ServiceMonitor is for the Prometheus operator, where that is installed.
	// +optional
	ServiceMonitor *ServiceMonitorSpec `json:"serviceMonitor,omitempty"`
}

// ServiceMonitorSpec is the registry's ServiceMonitor.
//
// +kubebuilder:validation:XValidation:rule="!has(self.scrapeTimeout) || has(self.interval)",message="scrapeTimeout must not be longer than interval: give both"
type ServiceMonitorSpec struct {
	// Enabled makes a ServiceMonitor, and a Service without an address for it.
	// +optional
	Enabled bool `json:"enabled,omitempty"`
	// Labels of the ServiceMonitor, besides those of metadata: Prometheus may select by them.
	// +optional
	Labels Labels `json:"labels,omitempty"`
	// Interval between scrapes, such as 30s; that of Prometheus if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$`
	// +kubebuilder:validation:MinLength=2
	Interval string `json:"interval,omitempty"`
	// ScrapeTimeout ends a scrape; that of Prometheus if left out.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$`
	// +kubebuilder:validation:MinLength=2
	ScrapeTimeout string `json:"scrapeTimeout,omitempty"`
	// Relabelings of the target, as a ServiceMonitor has them in spec.endpoints.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Relabelings []Object `json:"relabelings,omitempty"`
}
