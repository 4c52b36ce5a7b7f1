package children

import (
	"cmp"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1apply "k8s.io/client-go/applyconfigurations/policy/v1"

	"packregistry.dev/api/v1alpha1"
)

// DisruptionBudgetName is the name of the PodDisruptionBudget.
func DisruptionBudgetName(r *v1alpha1.PackRegistry) string { return r.Name }

// DisruptionBudget lets drains take one pod at a time, or nil where there are too few: a budget for one pod would either
// do nothing or keep its node from ever being drained.
func DisruptionBudget(r *v1alpha1.PackRegistry, replicas int32) *policyv1apply.PodDisruptionBudgetApplyConfiguration {
	spec := v1alpha1.PodDisruptionBudgetSpec{}
	if r.Spec.PodDisruptionBudget != nil {
		spec = *r.Spec.PodDisruptionBudget
	}
	if replicas < 2 || spec.Enabled != nil && !*spec.Enabled {
		return nil
	}
	unavailable := intstr.FromInt32(1)
	if spec.MaxUnavailable != nil {
		unavailable = *spec.MaxUnavailable
	}
	return policyv1apply.PodDisruptionBudget(DisruptionBudgetName(r), r.Namespace).
		WithLabels(objectLabels(r, Labels(r))).WithAnnotations(objectAnnotations(r)).WithOwnerReferences(owner(r)).
		WithSpec(policyv1apply.PodDisruptionBudgetSpec().
			WithMaxUnavailable(unavailable).
			// A pod that is not ready serves nobody; by default it would count as missing and keep its node from being drained.
			WithUnhealthyPodEvictionPolicy(cmp.Or(spec.UnhealthyPodEvictionPolicy, policyv1.AlwaysAllow)).
			WithSelector(metav1apply.LabelSelector().WithMatchLabels(Selector(r))))
}
