package children

import (
	"errors"
	"fmt"
	"maps"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"packregistry.dev/api/v1alpha1"
)

// MonitorLabel distinguishes the Service of metrics from the one that clients use.
const MonitorLabel = "packregistry.dev/metrics"

func monitored(r *v1alpha1.PackRegistry) bool {
	return r.Spec.Monitoring != nil && r.Spec.Monitoring.ServiceMonitor != nil && r.Spec.Monitoring.ServiceMonitor.Enabled
}

// Relabeling is one of a ServiceMonitor's endpoint, as monitoring.coreos.com/v1 has it.
type Relabeling struct {
	SourceLabels []string `json:"sourceLabels,omitempty"`
	Separator    *string  `json:"separator,omitempty"`
	TargetLabel  string   `json:"targetLabel,omitempty"`
	Regex        string   `json:"regex,omitempty"`
	Modulus      uint64   `json:"modulus,omitempty"`
	Replacement  *string  `json:"replacement,omitempty"`
	Action       string   `json:"action,omitempty"`
}

// RelabelingsPath is where they are in a spec.
const RelabelingsPath = "spec.monitoring.serviceMonitor.relabelings"

// Relabelings decodes those of a spec. What they do not have is an error: the API server would take it out, and the object would
// never be what it is to be.
func Relabelings(spec *v1alpha1.PackRegistrySpec) ([]Relabeling, error) {
	if spec.Monitoring == nil || spec.Monitoring.ServiceMonitor == nil {
		return nil, nil
	}
	var list []Relabeling
	var failed []error
	for i, object := range spec.Monitoring.ServiceMonitor.Relabelings {
		var decoded Relabeling
		if err := decodeStrict(object.Raw, &decoded); err != nil {
			failed = append(failed, fmt.Errorf("%s[%d]%w", RelabelingsPath, i, err))
		}
		list = append(list, decoded)
	}
	return list, errors.Join(failed...)
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
		if err := utiljson.Unmarshal(object.Raw, &relabeling); err == nil { // Relabelings says what is wrong
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
