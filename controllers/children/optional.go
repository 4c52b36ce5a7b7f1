package children

import (
	"cmp"
	"maps"
	"net"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

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

// RouteKind is the kind of route that leads a Gateway's clients here: one that passes TLS on where the pods serve it.
func RouteKind(r *v1alpha1.PackRegistry) schema.GroupKind {
	if ServesTLS(r) {
		return TLSRouteKind
	}
	return HTTPRouteKind
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
		add(RouteKind(r), routeSpec(r))
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

// routeSpec leads all of the hosts' requests to the Service. What the API would add by default is said, so that it can be
// compared with what is there.
func routeSpec(r *v1alpha1.PackRegistry) map[string]any {
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
	rule := map[string]any{"backendRefs": []any{map[string]any{
		"group": "", "kind": "Service", "name": ServiceName(r), "port": int64(ServicePort(r)), "weight": int64(1)}}}
	if !ServesTLS(r) {
		rule["matches"] = []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}}
	}
	return map[string]any{"parentRefs": parents, "hostnames": texts(r.Spec.Hosts), "rules": []any{rule}}
}

// ParentGroup is the group of a route's parent.
func ParentGroup(ref v1alpha1.ParentRef) string { return cmp.Or(ref.Group, HTTPRouteKind.Group) }

// ParentKind is the kind of a route's parent.
func ParentKind(ref v1alpha1.ParentRef) string { return cmp.Or(ref.Kind, "Gateway") }

// IssuedNames are the names that cert-manager is asked for. The cluster's own name of the Service is among them only where
// there are no hosts: a public issuer would refuse all for its sake.
func IssuedNames(r *v1alpha1.PackRegistry) []string {
	if len(r.Spec.Hosts) > 0 {
		return r.Spec.Hosts
	}
	return ServiceNames(r)
}

func certificateSpec(r *v1alpha1.PackRegistry) map[string]any {
	issuer := r.Spec.TLS.IssuerRef
	spec := map[string]any{
		"secretName": TLSSecret(r),
		"issuerRef":  map[string]any{"name": issuer.Name, "kind": cmp.Or(issuer.Kind, "Issuer"), "group": cmp.Or(issuer.Group, CertificateKind.Group)},
		"privateKey": privateKey(issuer.PrivateKey),
		"usages":     []any{"digital signature", "server auth"},
	}
	if issuer.Duration != nil {
		spec["duration"] = issuer.Duration.Duration.String()
	}
	if issuer.RenewBefore != nil {
		spec["renewBefore"] = issuer.RenewBefore.Duration.String()
	}
	names, addresses := SplitNames(IssuedNames(r))
	if len(names) > 0 {
		spec["dnsNames"] = texts(names)
	}
	if len(addresses) > 0 {
		spec["ipAddresses"] = texts(addressTexts(addresses))
	}
	return spec
}

// privateKey says everything that cert-manager would fill in.
func privateKey(spec *v1alpha1.PrivateKeySpec) map[string]any {
	if spec == nil {
		spec = &v1alpha1.PrivateKeySpec{}
	}
	algorithm := cmp.Or(spec.Algorithm, "ECDSA")
	key := map[string]any{"algorithm": algorithm, "rotationPolicy": cmp.Or(spec.RotationPolicy, "Always")}
	if size := cmp.Or(int64(spec.Size), map[string]int64{"ECDSA": 256, "RSA": 2048}[algorithm]); size != 0 {
		key["size"] = size
	}
	return key
}

func addressTexts(addresses []net.IP) []string {
	list := make([]string, len(addresses))
	for i, ip := range addresses {
		list[i] = ip.String()
	}
	return list
}

// MonitorLabel tells the Service of metrics from the one that clients use.
const MonitorLabel = "packregistry.dev/metrics"

func monitored(r *v1alpha1.PackRegistry) bool {
	return r.Spec.Monitoring != nil && r.Spec.Monitoring.ServiceMonitor != nil && r.Spec.Monitoring.ServiceMonitor.Enabled
}

func serviceMonitorSpec(r *v1alpha1.PackRegistry) map[string]any {
	spec := r.Spec.Monitoring.ServiceMonitor
	endpoint := map[string]any{"port": debugPortName, "path": "/metrics", "scheme": "http"}
	for key, value := range map[string]string{"interval": spec.Interval, "scrapeTimeout": spec.ScrapeTimeout} {
		if value != "" {
			endpoint[key] = value
		}
	}
	var relabelings []any
	for _, object := range spec.Relabelings {
		var relabeling map[string]any
		if err := utiljson.Unmarshal(object.Raw, &relabeling); err == nil { // it was an object when it was stored
			relabelings = append(relabelings, relabeling)
		}
	}
	if len(relabelings) > 0 {
		endpoint["relabelings"] = relabelings
	}
	return map[string]any{
		"selector":  map[string]any{"matchLabels": map[string]any{MonitorLabel: r.Name}},
		"endpoints": []any{endpoint},
	}
}

// metricsLabels are the labels of the Service of metrics.
func metricsLabels(r *v1alpha1.PackRegistry) map[string]string {
	labels := Labels(r)
	maps.Copy(labels, map[string]string{MonitorLabel: r.Name})
	return labels
}
