package controllers

import "packregistry.dev/api/v1alpha1"

// notBuilt lists the fields of a spec that this version of the operator cannot carry out yet, by their paths. They are
// refused as a whole: a registry that silently lacks what its spec asks for would be worse than none.
func notBuilt(spec *v1alpha1.PackRegistrySpec) []string {
	var fields []string
	for _, f := range []struct {
		path string
		set  bool
	}{
		{"spec.tls.issuerRef", spec.TLS.IssuerRef != nil},
		{"spec.ingress", spec.Ingress != nil},
		{"spec.gateway", spec.Gateway != nil},
		{"spec.networkPolicy", spec.NetworkPolicy != nil},
		{"spec.monitoring", spec.Monitoring != nil},
	} {
		if f.set {
			fields = append(fields, f.path)
		}
	}
	return fields
}
