package controllers

import (
	"testing"

	"packregistry.dev/api/v1alpha1"
)

// What is in a list twice is for who wrote it to mend: the API server never takes it, and is not asked again and again.
func TestAPIDuplicatesAreStalled(t *testing.T) {
	for name, of := range map[string]struct{ spec, reason, words string }{
		"a path of the operator's": {`{"pod":{"volumes":[{"name":"v","emptyDir":{}}],"volumeMounts":[{"name":"v","mountPath":"/tmp/"}]}}`, v1alpha1.ReasonInvalid, "spec.pod.volumeMounts[0].mountPath: /tmp is the operator's"},
		"two mounts of one path":   {`{"pod":{"volumes":[{"name":"v","emptyDir":{}}],"volumeMounts":[{"name":"v","mountPath":"/v"},{"name":"v","mountPath":"/v","subPath":"b"}]}}`, v1alpha1.ReasonInvalid, "spec.pod.volumeMounts[1].mountPath: /v is there twice"},
		"an env of a sidecar":      {`{"pod":{"containers":[{"name":"s","image":"s:1","env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]}]}}`, v1alpha1.ReasonRefused, "duplicate entries"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := ready(t)
			patchSpec(t, r, of.spec)
			wantCondition(t, r, v1alpha1.ConditionStalled, "True", of.reason, of.words)
			wantEvent(t, r, "Warning", of.reason, of.words)
		})
	}
}
