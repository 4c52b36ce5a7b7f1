package children

import "packregistry.dev/api/v1alpha1"

// httpRouteSpec leads all paths of the hosts to the Service; the Gateway's listener ends TLS.
func httpRouteSpec(r *v1alpha1.PackRegistry) map[string]any {
	return routeSpec(r, map[string]any{"matches": []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}}})
}
