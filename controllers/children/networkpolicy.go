package children

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1apply "k8s.io/client-go/applyconfigurations/networking/v1"

	"packregistry.dev/api/v1alpha1"
)

// NetworkPolicyName is the name of the NetworkPolicy.
func NetworkPolicyName(r *v1alpha1.PackRegistry) string { return r.Name }

// NetworkPolicy admits clients from anywhere to the registry's own ports, and to the debug port only the operator, and who
// scrapes where monitoring is on; or nil where none is asked for. What the registry itself connects to is not limited: its
// bucket and ACME server may be anywhere.
func NetworkPolicy(r *v1alpha1.PackRegistry) (*networkingv1apply.NetworkPolicyApplyConfiguration, error) {
	if r.Spec.NetworkPolicy == nil || !r.Spec.NetworkPolicy.Enabled {
		return nil, nil
	}
	more, err := decodeObjects[networkingv1apply.NetworkPolicyIngressRuleApplyConfiguration, networkingv1.NetworkPolicyIngressRule]("spec.networkPolicy.ingress", r.Spec.NetworkPolicy.Ingress)
	if err != nil {
		return nil, err
	}
	for _, rule := range more {
		for i := range rule.Ports {
			if rule.Ports[i].Protocol == nil { // the API server's default, within a list that has one owner
				rule.Ports[i].WithProtocol(corev1.ProtocolTCP)
			}
		}
	}
	port := func(name string) *networkingv1apply.NetworkPolicyPortApplyConfiguration {
		return networkingv1apply.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromString(name))
	}
	clients := networkingv1apply.NetworkPolicyIngressRule().WithPorts(port(servePortName))
	if answersHTTP01(r) {
		clients.WithPorts(port(acmePortName))
	}
	peer := networkingv1apply.NetworkPolicyPeer().WithNamespaceSelector(metav1apply.LabelSelector())
	if !monitored(r) {
		peer.WithPodSelector(metav1apply.LabelSelector().WithMatchLabels(map[string]string{LabelOperator: "true"}))
	}
	policy := networkingv1apply.NetworkPolicy(NetworkPolicyName(r), r.Namespace).
		WithLabels(objectLabels(r, Labels(r))).WithAnnotations(objectAnnotations(r)).WithOwnerReferences(owner(r)).
		WithSpec(networkingv1apply.NetworkPolicySpec().
			WithPodSelector(metav1apply.LabelSelector().WithMatchLabels(Selector(r))).
			WithPolicyTypes(networkingv1.PolicyTypeIngress).
			WithIngress(clients, networkingv1apply.NetworkPolicyIngressRule().WithPorts(port(debugPortName)).WithFrom(peer)))
	policy.Spec.WithIngress(more...)
	return policy, nil
}
