package children

import (
	"cmp"
	"net"

	"packregistry.dev/api/v1alpha1"
)

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
