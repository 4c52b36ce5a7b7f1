package children

import (
	"maps"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"packregistry.dev/api/v1alpha1"
)

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
