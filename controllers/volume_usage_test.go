package controllers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"packregistry.dev/api/v1alpha1"
)

func TestNearlyFull(t *testing.T) {
	r := newRegistry("team")
	o := &observed{registry: r, now: now, claim: &corev1.PersistentVolumeClaim{Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}}
	// In this order: what it was before decides between the two limits.
	for _, step := range []struct {
		percent uint64
		reason  string
	}{
		{0, v1alpha1.ReasonClaimBound}, {94, v1alpha1.ReasonClaimBound}, {95, v1alpha1.ReasonNearlyFull}, {93, v1alpha1.ReasonNearlyFull},
		{100, v1alpha1.ReasonNearlyFull}, {92, v1alpha1.ReasonNearlyFull}, {91, v1alpha1.ReasonClaimBound}, {94, v1alpha1.ReasonClaimBound},
	} {
		const size = 1 << 40
		o.space = &Space{Size: size, Free: size / 100 * (100 - step.percent)}
		f := storageReady(o, decision{})
		if f.reason != step.reason {
			t.Fatalf("%d%%: %s: %s", step.percent, f.reason, f.message)
		}
		meta.SetStatusCondition(&r.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionStorageReady, Status: f.status, Reason: f.reason, Message: f.message})
	}
	o.space = nil
	if f := storageReady(o, decision{}); f.reason != v1alpha1.ReasonClaimBound {
		t.Errorf("nobody says how full it is: %s", f.reason)
	}
	// The status follows whole percent, not each push.
	o.claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	for free, want := range map[uint64]string{600 << 20: "400Mi", 601<<20 - 1: "390Mi", 1000 << 20: "0"} {
		o.space = &Space{Size: 1000 << 20, Free: free}
		if capacity, used := volumeUsage(o); capacity.String() != "1Gi" || used.String() != want {
			t.Errorf("%d free: %s of %s used, want %s", free, used, capacity, want)
		}
	}
	o.space = &Space{Size: 10, Free: 20} // nonsense
	if nearlyFull(o) {
		t.Error("more than all of it is free, and it is full")
	}
}

func TestAskSpace(t *testing.T) {
	for body, want := range map[string]Space{
		`{"storage":{"free":5,"size":10},"more":1}`: {5, 10},
		`{}`: {}, // nothing is known of a volume
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/status" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			fmt.Fprint(w, body) //nolint:errcheck // the client tells
		}))
		if got, err := AskSpace(t.Context(), strings.TrimPrefix(s.URL, "http://")); err != nil || got != want {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
		s.Close()
		if _, err := AskSpace(t.Context(), strings.TrimPrefix(s.URL, "http://")); err == nil {
			t.Error("a pod that is gone answered")
		}
	}
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	if _, err := AskSpace(t.Context(), strings.TrimPrefix(s.URL, "http://")); err == nil {
		t.Error("an image that does not know the question answered")
	}
}
