package children

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"packregistry.dev/api/v1alpha1"
)

// This file is about kinds that a cluster may lack, because somebody else brings them. Their objects are built as the JSON
// that they are: their Go types would bring the libraries of whole other projects.

// Kinds that a cluster may lack.
var (
	HTTPRouteKind      = schema.GroupKind{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}
	TLSRouteKind       = schema.GroupKind{Group: "gateway.networking.k8s.io", Kind: "TLSRoute"}
	CertificateKind    = schema.GroupKind{Group: "cert-manager.io", Kind: "Certificate"}
	ServiceMonitorKind = schema.GroupKind{Group: "monitoring.coreos.com", Kind: "ServiceMonitor"}
)

// OptionalVersions are the versions of each of them that the operator can write, the best first. What it writes is the same
// in all.
var OptionalVersions = map[schema.GroupKind][]string{
	HTTPRouteKind:      {"v1", "v1beta1"},
	TLSRouteKind:       {"v1", "v1alpha3", "v1alpha2"},
	CertificateKind:    {"v1"},
	ServiceMonitorKind: {"v1"},
}

// OptionalName is the name of a registry's object of such a kind.
func OptionalName(r *v1alpha1.PackRegistry) string { return r.Name }

// Optional are the objects of such kinds that a registry asks for, without their versions.
func Optional(r *v1alpha1.PackRegistry) map[schema.GroupKind]*unstructured.Unstructured {
	wanted := map[schema.GroupKind]*unstructured.Unstructured{}
	add := func(kind schema.GroupKind, spec map[string]any, more ...v1alpha1.Labels) {
		u := &unstructured.Unstructured{Object: map[string]any{
			"kind": kind.Kind,
			"metadata": map[string]any{
				"name": OptionalName(r), "namespace": r.Namespace,
				"ownerReferences": []any{map[string]any{
					"apiVersion": v1alpha1.GroupVersion.String(), "kind": "PackRegistry", "name": r.Name, "uid": string(r.UID),
					"controller": true, "blockOwnerDeletion": true,
				}},
			},
			"spec": spec,
		}}
		u.SetLabels(objectLabels(r, Labels(r), more...))
		if annotations := objectAnnotations(r); len(annotations) > 0 {
			u.SetAnnotations(annotations)
		}
		wanted[kind] = u
	}
	if r.Spec.Gateway != nil {
		if ServesTLS(r) {
			add(TLSRouteKind, tlsRouteSpec(r))
		} else {
			add(HTTPRouteKind, httpRouteSpec(r))
		}
	}
	if r.Spec.TLS.IssuerRef != nil {
		add(CertificateKind, certificateSpec(r))
	}
	if monitored(r) {
		add(ServiceMonitorKind, serviceMonitorSpec(r), r.Spec.Monitoring.ServiceMonitor.Labels)
	}
	return wanted
}

func texts(list []string) []any {
	values := make([]any, len(list))
	for i, s := range list {
		values[i] = s
	}
	return values
}
