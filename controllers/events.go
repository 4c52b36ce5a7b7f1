package controllers

import (
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
)

// tellTransitions makes an event of each condition that became another. What is only under way, and what was well from
// the beginning, is no event.
func (r *Reconciler) tellTransitions(registry *v1alpha1.PackRegistry, status v1alpha1.PackRegistryStatus) {
	known := outlineOf(registry.Status.Conditions)
	last, found := r.told.Swap(client.ObjectKeyFromObject(registry), toldConditions{registry.UID, outlineOf(status.Conditions)})
	if t, ok := last.(toldConditions); found && ok && t.uid == registry.UID {
		known = t.conditions
	}
	for _, now := range status.Conditions {
		var before *outline
		if i := slices.IndexFunc(known, func(o outline) bool { return o.kind == now.Type }); i >= 0 {
			before = &known[i]
		}
		if before != nil && before.status == now.Status && before.reason == now.Reason {
			continue
		}
		kind := corev1.EventTypeNormal
		switch {
		case now.Type == v1alpha1.ConditionReconciling, now.Type == v1alpha1.ConditionDegraded, // the part that is at fault says so
			now.Status == metav1.ConditionUnknown, underWay[now.Reason]:
			continue
		case now.Type == v1alpha1.ConditionReady && now.Status == metav1.ConditionFalse:
			continue // the part that failed says so, or Stalled does
		case now.Type == v1alpha1.ConditionStalled || now.Status == metav1.ConditionFalse || needsAttention[now.Reason]:
			kind = corev1.EventTypeWarning
		case now.Type != v1alpha1.ConditionReady && (before == nil || before.status != metav1.ConditionFalse || underWay[before.reason]):
			continue
		}
		r.Recorder.Eventf(registry, nil, kind, now.Reason, now.Type, "%s", now.Message)
	}
}

// toldConditions are the conditions of one object that events have told.
type toldConditions struct {
	uid        types.UID
	conditions []outline
}

// outline is what makes a condition another one: thousands of them are kept, without their messages.
type outline struct {
	kind   string
	status metav1.ConditionStatus
	reason string
}

func outlineOf(conditions []metav1.Condition) []outline {
	outlines := make([]outline, len(conditions))
	for i, c := range conditions {
		outlines[i] = outline{unique.Make(c.Type).Value(), unique.Make(c.Status).Value(), unique.Make(c.Reason).Value()}
	}
	return outlines
}

// needsAttention are reasons of conditions that are true, and that somebody should know of.
var needsAttention = map[string]bool{
	v1alpha1.ReasonScaledElsewhere: true, v1alpha1.ReasonReplicaFailure: true, v1alpha1.ReasonServiceMonitorNotInstalled: true,
}

// underWay are reasons that go away by themselves.
var underWay = map[string]bool{
	v1alpha1.ReasonProgressing: true, v1alpha1.ReasonRollingOut: true,
	v1alpha1.ReasonClaimPending: true, v1alpha1.ReasonAddressPending: true,
}
