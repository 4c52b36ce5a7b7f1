package children

import (
	"cmp"

	networkingv1 "k8s.io/api/networking/v1"
	networkingv1apply "k8s.io/client-go/applyconfigurations/networking/v1"

	"packregistry.dev/api/v1alpha1"
)

// IngressName is the name of the Ingress.
func IngressName(r *v1alpha1.PackRegistry) string { return r.Name }

// Ingress ends TLS on 443 and leads to the Service, or nil where none is asked for. It does not wait for the certificate:
// who issues it may have to reach the host first.
func Ingress(r *v1alpha1.PackRegistry) *networkingv1apply.IngressApplyConfiguration {
	if r.Spec.Ingress == nil {
		return nil
	}
	backend := networkingv1apply.IngressBackend().WithService(networkingv1apply.IngressServiceBackend().
		WithName(ServiceName(r)).WithPort(networkingv1apply.ServiceBackendPort().WithNumber(ServicePort(r))))
	// Without a secret the controller shows a certificate of its own.
	tls := networkingv1apply.IngressTLS().WithHosts(r.Spec.Hosts...)
	if name := TLSSecret(r); name != "" {
		tls.WithSecretName(name)
	}
	pathType := cmp.Or(r.Spec.Ingress.PathType, networkingv1.PathTypePrefix)
	spec := networkingv1apply.IngressSpec().WithTLS(tls)
	for _, host := range r.Spec.Hosts {
		spec.WithRules(networkingv1apply.IngressRule().WithHost(host).WithHTTP(networkingv1apply.HTTPIngressRuleValue().
			WithPaths(networkingv1apply.HTTPIngressPath().WithPath("/").WithPathType(pathType).WithBackend(backend))))
	}
	if class := r.Spec.Ingress.ClassName; class != nil {
		spec.WithIngressClassName(*class)
	}
	return networkingv1apply.Ingress(IngressName(r), r.Namespace).
		WithLabels(objectLabels(r, Labels(r), r.Spec.Ingress.Labels)).WithAnnotations(objectAnnotations(r, r.Spec.Ingress.Annotations)).WithOwnerReferences(owner(r)).WithSpec(spec)
}
