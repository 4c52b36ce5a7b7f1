package children

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
)

// Service is how the registry is reached.
func Service(r *v1alpha1.PackRegistry) *corev1apply.ServiceApplyConfiguration {
	spec := r.Spec.Service
	name := "https"
	if !ServesTLS(r) {
		name = "http"
	}
	port := corev1apply.ServicePort().
		WithName(name).WithProtocol(corev1.ProtocolTCP).
		WithPort(ServicePort(r)).WithTargetPort(intstr.FromString("serve"))
	if spec.NodePort != 0 {
		port.WithNodePort(spec.NodePort)
	}
	kind := spec.Type
	if kind == "" {
		kind = corev1.ServiceTypeClusterIP
	}
	service := corev1apply.Service(ServiceName(r), r.Namespace).
		WithLabels(Labels(r)).WithOwnerReferences(owner(r)).
		WithSpec(corev1apply.ServiceSpec().WithType(kind).WithSelector(Selector(r)).WithPorts(port))
	if r.Spec.TLS.LetsEncrypt != nil && ServicePort(r) != 80 {
		service.Spec.WithPorts(corev1apply.ServicePort().
			WithName("http-01").WithProtocol(corev1.ProtocolTCP).
			WithPort(80).WithTargetPort(intstr.FromString(acmePortName)))
	}
	if len(spec.Annotations) > 0 {
		service.WithAnnotations(spec.Annotations)
	}
	if spec.LoadBalancerClass != nil {
		service.Spec.WithLoadBalancerClass(*spec.LoadBalancerClass)
	}
	if len(spec.LoadBalancerSourceRanges) > 0 {
		service.Spec.WithLoadBalancerSourceRanges(spec.LoadBalancerSourceRanges...)
	}
	if spec.ExternalTrafficPolicy != "" {
		service.Spec.WithExternalTrafficPolicy(spec.ExternalTrafficPolicy)
	}
	return service
}
