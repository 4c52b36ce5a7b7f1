package controllers

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
)

// scale sets a number of replicas as kubectl scale does.
func scale(t *testing.T, o client.Object, namespace, name string, replicas int32, by string) {
	t.Helper()
	o = get(t, namespace, name, o)
	subresource := api.SubResource("scale")
	now := &autoscalingv1.Scale{}
	must(t, subresource.Get(t.Context(), o, now))
	now.Spec.Replicas = replicas
	must(t, subresource.Update(t.Context(), o, client.WithSubResourceBody(now), client.FieldOwner(by)))
}

func wantReplicas(t *testing.T, r *v1alpha1.PackRegistry, want int32) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d replicas", want), func() error {
		if got := *get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Replicas; got != want {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

// What a person has set holds until the spec is changed, an autoscaler's number in any case; and both are reported.
func TestAPIWhoseReplicasHold(t *testing.T) {
	t.Parallel()
	o, r := onBucket(t, 1)
	deployment := func(replicas int32, by string) {
		t.Helper()
		scale(t, &appsv1.Deployment{}, r.Namespace, r.Name, replicas, by)
		rollOut(t, r.Namespace, r.Name)
	}
	deployment(3, "kubectl")
	wantCondition(t, r, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonScaledElsewhere, "kubectl scaled Deployment packs to 3", "spec.replicas (1)")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	patchSpec(t, r, `{"log":{"level":"debug"}}`) // no word on replicas
	o.settle(t)
	wantReplicas(t, r, 3)

	// The PackRegistry's own scale is the last word.
	scale(t, &v1alpha1.PackRegistry{}, r.Namespace, r.Name, 2, "kubectl")
	wantReplicas(t, r, 2)
	rollOut(t, r.Namespace, r.Name)
	wantCondition(t, r, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonMinimumAvailable)

	// One that is scaled away and back is the spec's again.
	deployment(0, "kubectl")
	wantCondition(t, r, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonScaledToZero, "scaled Deployment packs to 0")
	deployment(2, "kubectl")
	wantCondition(t, r, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonMinimumAvailable)
	o.settle(t)
	patchSpec(t, r, `{"replicas":1}`)
	wantReplicas(t, r, 1)

	// An autoscaler of the Deployment.
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "load"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 9,
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: r.Name}}}
	must(t, api.Create(t.Context(), hpa))
	deployment(5, "kube-controller-manager")
	wantCondition(t, r, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonScaledElsewhere, "HorizontalPodAutoscaler load scales Deployment packs")
	patchSpec(t, r, `{"replicas":4}`)
	o.settle(t)
	wantReplicas(t, r, 5)
	must(t, api.Delete(t.Context(), hpa))
	patchSpec(t, r, `{"log":{"level":"info"}}`) // else it looks once a minute
	wantReplicas(t, r, 4)
	o.settle(t)
	writes := o.writes.Load()
	o.stop()
	again := startOperator(t, r.Namespace)
	again.settle(t)
	if again.writes.Load() != 0 {
		t.Errorf("%d writes, and %d after a restart", writes, again.writes.Load())
	}
	events := &eventsv1.EventList{}
	must(t, api.List(t.Context(), events, client.InNamespace(r.Namespace)))
	reported := 0
	for _, e := range events.Items {
		if e.Regarding.UID == r.UID && e.Reason == v1alpha1.ReasonScaledElsewhere && e.Type == corev1.EventTypeWarning && strings.Contains(e.Note, "has no effect") {
			reported++
		}
	}
	if reported == 0 {
		t.Error("no event reports it")
	}
}
