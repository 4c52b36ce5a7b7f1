package limits

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"packregistry.dev/api/v1alpha1"
)

// This file is about labels and annotations, which other controllers act on.

// plainValue are values of annotations that are a word, a number or a path.
var plainValue = regexp.MustCompile(`^[A-Za-z0-9_./-]*$`)

func (l *Limits) annotationAllowed(key, value string) bool {
	return slices.ContainsFunc(l.Annotations, func(pattern string) bool {
		if strings.Contains(pattern, "=") {
			return matches([]string{pattern}, key+"="+value)
		}
		return matches([]string{pattern}, key) && (!slices.Contains(DefaultAnnotations, pattern) || plainValue.MatchString(value))
	})
}

// allowedValues says what an annotation could be instead of what it is, or "" if it is not allowed at all.
func (l *Limits) allowedValues(key string) string {
	var values []string
	for _, pattern := range l.Annotations {
		if value, ok := strings.CutPrefix(pattern, key+"="); ok {
			values = append(values, value)
		}
	}
	switch {
	case len(values) > 0:
		return " with this value (only with " + strings.Join(values, ", ") + ")"
	case slices.Contains(l.Annotations, key):
		return " with this value (only with letters, digits and ._/-, as some controllers put it into their configuration as it is)"
	}
	return ""
}

func (l *Limits) labelAllowed(key string) bool {
	return matches(l.Labels, key) || slices.Contains(l.Labels, plainLabels) && !strings.Contains(key, "/") && !slices.Contains(actedUpon, key)
}

// refusedMetadata lists labels and annotations that are not allowed, by their keys alone: a value may be a secret.
func (l *Limits) refusedMetadata(spec *v1alpha1.PackRegistrySpec) []string {
	var refused []string
	annotations := func(path string, given v1alpha1.Annotations) {
		for _, key := range slices.Sorted(maps.Keys(given)) {
			if l.annotationAllowed(key, given[key]) {
				continue
			}
			refused = append(refused, fmt.Sprintf("%s[%s] is not allowed%s: who runs the operator can allow it (--allowed-annotations, in its chart limits.annotations)", path, key, l.allowedValues(key)))
		}
	}
	labels := func(path string, given v1alpha1.Labels) {
		for _, key := range slices.Sorted(maps.Keys(given)) {
			if !l.labelAllowed(key) {
				refused = append(refused, fmt.Sprintf("%s[%s] is not allowed: who runs the operator can allow it (--allowed-labels, in its chart limits.labels)", path, key))
			}
		}
	}
	annotations("spec.metadata.annotations", spec.Metadata.Annotations)
	annotations("spec.pod.annotations", spec.Pod.Annotations)
	annotations("spec.service.annotations", spec.Service.Annotations)
	labels("spec.metadata.labels", spec.Metadata.Labels)
	labels("spec.pod.labels", spec.Pod.Labels)
	labels("spec.service.labels", spec.Service.Labels)
	if spec.Ingress != nil {
		annotations("spec.ingress.annotations", spec.Ingress.Annotations)
		labels("spec.ingress.labels", spec.Ingress.Labels)
	}
	if spec.Monitoring != nil && spec.Monitoring.ServiceMonitor != nil {
		labels("spec.monitoring.serviceMonitor.labels", spec.Monitoring.ServiceMonitor.Labels)
	}
	return refused
}

// Strip takes what is not allowed out of the metadata for all objects of a spec that is refused: users and certificates follow their
// sources all the same, and must not carry it.
func (l *Limits) Strip(spec *v1alpha1.PackRegistrySpec) {
	if l != nil {
		maps.DeleteFunc(spec.Metadata.Annotations, func(key, value string) bool { return !l.annotationAllowed(key, value) })
		maps.DeleteFunc(spec.Metadata.Labels, func(key string, _ v1alpha1.LabelValue) bool { return !l.labelAllowed(key) })
	}
}
