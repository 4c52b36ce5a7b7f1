package controllers

import (
	"testing"

	"packregistry.dev/api/v1alpha1"
)

// What is in a list twice is for who wrote it to mend: the API server never takes it, and is not asked again and again.
func TestAPIDuplicatesAreStalled(t *testing.T) {
	for name, spec := range map[string]string{
		"a path of the operator's": `{"pod":{"volumes":[{"name":"v","emptyDir":{}}],"volumeMounts":[{"name":"v","mountPath":"/tmp"}]}}`,
		"an env of a sidecar":      `{"pod":{"containers":[{"name":"s","image":"s:1","env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := ready(t)
			patchSpec(t, r, spec)
			wantCondition(t, r, v1alpha1.ConditionStalled, "True", v1alpha1.ReasonRefused, "duplicate entries")
			wantEvent(t, r, "Warning", v1alpha1.ReasonRefused, "duplicate entries")
		})
	}
}
