package controllers

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"packregistry.dev/api/v1alpha1"
)

var (
	applies = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "packregistry_operator_applies_total", Help: "Children applied, by kind and result.",
	}, []string{"kind", "result"})
	// The only series that each registry has one of: alerts need to know which.
	readyGauge = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "packregistry_ready", Help: "1 where a PackRegistry's condition Ready is true, else 0.",
	}, []string{"namespace", "name"})
	degradedGauge = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "packregistry_degraded", Help: "1 for each PackRegistry that serves and needs attention, by the reason of its condition Degraded; no series for others.",
	}, []string{"namespace", "name", "reason"})
	undecodableGauge = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "packregistry_undecodable", Help: "1 for each PackRegistry that is stored in a form that cannot be read; no series for others.",
	}, []string{"namespace", "name"})
	leftToOthers = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "packregistry_operator_left_to_others", Help: "PackRegistries that this operator leaves alone because another one looks after them.",
	})
)

func init() {
	metrics.Registry.MustRegister(applies, readyGauge, degradedGauge, leftToOthers, undecodableGauge)
} // controller-runtime's registry is the process's one

func measureReady(name types.NamespacedName, status v1alpha1.PackRegistryStatus) {
	degradedGauge.DeletePartialMatch(prometheus.Labels{"namespace": name.Namespace, "name": name.Name})
	if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionDegraded); c != nil {
		degradedGauge.WithLabelValues(name.Namespace, name.Name, c.Reason).Set(1)
	}
	value := 0.0
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
		value = 1
	}
	readyGauge.WithLabelValues(name.Namespace, name.Name).Set(value)
}

func forgetReady(name types.NamespacedName) {
	readyGauge.DeleteLabelValues(name.Namespace, name.Name)
	undecodableGauge.DeleteLabelValues(name.Namespace, name.Name)
	degradedGauge.DeletePartialMatch(prometheus.Labels{"namespace": name.Namespace, "name": name.Name})
}

// measureDecoding counts a PackRegistry that cannot be read as a whole.
func measureDecoding(registry *v1alpha1.PackRegistry) {
	if registry.DecodeError == "" {
		undecodableGauge.DeleteLabelValues(registry.Namespace, registry.Name)
		return
	}
	undecodableGauge.WithLabelValues(registry.Namespace, registry.Name).Set(1)
}
