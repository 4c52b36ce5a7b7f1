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
		WithLabels(objectLabels(r, Labels(r), spec.Labels)).WithAnnotations(objectAnnotations(r, spec.Annotations)).WithOwnerReferences(owner(r)).
		WithSpec(corev1apply.ServiceSpec().WithType(kind).WithSelector(Selector(r)).WithPorts(port))
	if answersHTTP01(r) && ServicePort(r) != 80 {
		service.Spec.WithPorts(corev1apply.ServicePort().
			WithName("http-01").WithProtocol(corev1.ProtocolTCP).
			WithPort(80).WithTargetPort(intstr.FromString(acmePortName)))
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
	service.Spec.WithIPFamilies(spec.IPFamilies...)
	if spec.IPFamilyPolicy != "" {
		service.Spec.WithIPFamilyPolicy(spec.IPFamilyPolicy)
	}
	if spec.SessionAffinity != "" {
		service.Spec.WithSessionAffinity(spec.SessionAffinity)
	}
	if spec.ClusterIP != "" {
		service.Spec.WithClusterIP(spec.ClusterIP)
	}
	return service
}

// answersHTTP01 says whether an ACME server may come by port 80; behind a Gateway it comes by the route, which is TLS.
func answersHTTP01(r *v1alpha1.PackRegistry) bool {
	return r.Spec.TLS.LetsEncrypt != nil && r.Spec.Gateway == nil
}

// MetricsServiceName is the name of the Service of metrics.
func MetricsServiceName(r *v1alpha1.PackRegistry) string { return r.Name + "-registry-metrics" }

// MetricsService names the pods' debug ports for whoever scrapes them, or nil where nobody is to. It has no address: the
// Service that clients use must not lead there.
func MetricsService(r *v1alpha1.PackRegistry) *corev1apply.ServiceApplyConfiguration {
	if !monitored(r) {
		return nil
	}
	return corev1apply.Service(MetricsServiceName(r), r.Namespace).
		WithLabels(objectLabels(r, metricsLabels(r))).WithAnnotations(objectAnnotations(r)).WithOwnerReferences(owner(r)).
		WithSpec(corev1apply.ServiceSpec().WithType(corev1.ServiceTypeClusterIP).WithClusterIP(corev1.ClusterIPNone).WithSelector(Selector(r)).
			WithPorts(corev1apply.ServicePort().WithName(debugPortName).WithProtocol(corev1.ProtocolTCP).
				WithPort(PortDebug).WithTargetPort(intstr.FromString(debugPortName))))
}
