package children

import "packregistry.dev/api/v1alpha1"

// tlsRouteSpec passes the hosts' connections on to the Service, whose pods serve TLS.
func tlsRouteSpec(r *v1alpha1.PackRegistry) map[string]any {
	return routeSpec(r, map[string]any{})
}
