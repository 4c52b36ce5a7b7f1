package controllers

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A status that is patched onto a later version than was read could not be distinguished from one that an apply wrote: the next reconcile, which
// read that version before the patch, would leave what was patched in place for good.
func TestAPIAStatusIsPatchedOnlyToTheVersionThatWasRead(t *testing.T) {
	needAPI(t)
	r := newRegistry(newNamespace(t))
	must(t, api.Create(t.Context(), r))
	read := r.DeepCopy()
	patchSpec(t, r, `{"replicas":1,"hosts":["other.example.com"]}`)
	operator := &Reconciler{Client: api}
	status := read.Status
	status.URL = "https://packs.example.com"
	if err := operator.patchStatus(t.Context(), read, status); !apierrors.IsConflict(err) {
		t.Errorf("patched an older version: %v, want a conflict", err)
	}
	must(t, operator.patchStatus(t.Context(), get(t, r.Namespace, r.Name, r), status))
}
