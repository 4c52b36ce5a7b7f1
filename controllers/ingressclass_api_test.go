package controllers

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"packregistry.dev/api/v1alpha1"
)

// An Ingress of a class that does not exist waits for nobody.
func TestAPIAnIngressClassThatDoesNotExist(t *testing.T) {
	t.Parallel()
	_, r := ready(t)
	patchSpec(t, r, `{"ingress":{"className":"nonesuch"}}`)
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonIngressClassMissing, "IngressClass nonesuch", "spec.ingress.className")
	wantEvent(t, r, "Warning", v1alpha1.ReasonIngressClassMissing, "nonesuch")
	must(t, api.Create(t.Context(), &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nonesuch"}, Spec: networkingv1.IngressClassSpec{Controller: "example.com/ingress"}}))
	patchSpec(t, r, `{"log":{"level":"debug"}}`) // else it looks twice a minute
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonAddressPending, "of class nonesuch")
}
