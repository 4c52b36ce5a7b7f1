package controllers

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
)

// What is left of an earlier PackRegistry of the name says nothing about this one: not that its claim is lost, not that it
// is available, nor where it is reached.
func TestAPIAnEarlierRegistryIsNotReportedAsThisOne(t *testing.T) {
	t.Parallel()
	o, r := ready(t)
	patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`)
	eventually(t, "the claim goes with its PackRegistry", func() error {
		if claim := get(t, r.Namespace, "packs-data", &corev1.PersistentVolumeClaim{}); len(claim.OwnerReferences) != 1 {
			return fmt.Errorf("owners %v", claim.OwnerReferences)
		}
		return nil
	})
	o.stop()
	must(t, api.Delete(t.Context(), r.DeepCopy()))
	must(t, api.Delete(t.Context(), get(t, r.Namespace, "packs-data", &corev1.PersistentVolumeClaim{}))) // it stays until its pods are gone
	if claim := get(t, r.Namespace, "packs-data", &corev1.PersistentVolumeClaim{}); claim.DeletionTimestamp == nil {
		t.Fatal("the claim is not being deleted")
	}
	again := newRegistry(r.Namespace)
	must(t, api.Create(t.Context(), again))
	after := startOperator(t, r.Namespace)
	after.settle(t)
	eventually(t, "it was looked at", func() error {
		live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
		if live.Status.ObservedGeneration != live.Generation {
			return fmt.Errorf("%d", live.Status.ObservedGeneration)
		}
		return nil
	})
	live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
	for kind, reason := range map[string]string{v1alpha1.ConditionStorageReady: v1alpha1.ReasonProgressing, v1alpha1.ConditionAvailable: v1alpha1.ReasonProgressing, v1alpha1.ConditionExposed: v1alpha1.ReasonProgressing} {
		if c := meta.FindStatusCondition(live.Status.Conditions, kind); c == nil || c.Status == metav1.ConditionTrue || c.Reason != reason {
			t.Errorf("%s: %+v", kind, c)
		}
	}
	if live.Status.URL != "" || live.Status.ReadyReplicas != 0 {
		t.Errorf("%+v", live.Status)
	}
	events := &eventsv1.EventList{}
	must(t, api.List(t.Context(), events, client.InNamespace(r.Namespace)))
	for _, e := range events.Items {
		if e.Regarding.UID == again.UID && e.Reason == v1alpha1.ReasonClaimLost {
			t.Errorf("%s %s: %s", e.Type, e.Reason, e.Note)
		}
	}
	if d := get(t, r.Namespace, r.Name, &appsv1.Deployment{}); metav1.GetControllerOf(d).UID != r.UID {
		t.Error("the earlier Deployment was taken over")
	}
}
