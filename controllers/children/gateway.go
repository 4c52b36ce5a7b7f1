package children

import (
	"cmp"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"packregistry.dev/api/v1alpha1"
)

// This file is what routes of the Gateway API have in common, whatever they are.

// RouteKind is the kind of route that leads a Gateway's clients here: one that passes TLS on where the pods serve it.
func RouteKind(r *v1alpha1.PackRegistry) schema.GroupKind {
	if ServesTLS(r) {
		return TLSRouteKind
	}
	return HTTPRouteKind
}

// ParentGroup is the group of a route's parent.
func ParentGroup(ref v1alpha1.ParentRef) string { return cmp.Or(ref.Group, HTTPRouteKind.Group) }

// ParentKind is the kind of a route's parent.
func ParentKind(ref v1alpha1.ParentRef) string { return cmp.Or(ref.Kind, "Gateway") }

// routeSpec leads all requests that a rule matches to the Service. What the API would add by default is said, so that it can be
// compared with what is there.
func routeSpec(r *v1alpha1.PackRegistry, rule map[string]any) map[string]any {
	var parents []any
	for _, ref := range r.Spec.Gateway.ParentRefs {
		parent := map[string]any{"group": ParentGroup(ref), "kind": ParentKind(ref), "name": ref.Name}
		if ref.Namespace != "" {
			parent["namespace"] = ref.Namespace
		}
		if ref.SectionName != "" {
			parent["sectionName"] = ref.SectionName
		}
		if ref.Port != 0 {
			parent["port"] = int64(ref.Port)
		}
		parents = append(parents, parent)
	}
	rule["backendRefs"] = []any{map[string]any{
		"group": "", "kind": "Service", "name": ServiceName(r), "port": int64(ServicePort(r)), "weight": int64(1)}}
	return map[string]any{"parentRefs": parents, "hostnames": texts(r.Spec.Hosts), "rules": []any{rule}}
}
