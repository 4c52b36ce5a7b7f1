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

// recordTransitions makes an event of each condition that became another. What is only under way, and what was well from
// the beginning, is no event. One more child that is refused makes no other condition of Stalled, and an event all the same.
func (r *Reconciler) recordTransitions(registry *v1alpha1.PackRegistry, status v1alpha1.PackRegistryStatus, refused []refusal) {
	known := outlineOf(registry.Status.Conditions)
	now := recordedConditions{registry.UID, outlineOf(status.Conditions), refusedForGood(refused)}
	last, found := r.recorded.Swap(client.ObjectKeyFromObject(registry), now)
	if t, ok := last.(recordedConditions); found && ok && t.uid == registry.UID {
		known = t.conditions
		stalled := func(o outline) bool { return o.kind == v1alpha1.ConditionStalled }
		if slices.ContainsFunc(known, stalled) { // else the condition's own event names them all
			for _, f := range ordered(refused) {
				if f.permanent && !slices.Contains(t.refused, f.id()) {
					r.Recorder.Eventf(registry, nil, corev1.EventTypeWarning, f.reason, v1alpha1.ConditionStalled, "%s", cut(f.message, noteBytes))
				}
			}
		}
	}
	for _, now := range status.Conditions {
		var before *outline
		if i := slices.IndexFunc(known, func(o outline) bool { return o.kind == now.Type }); i >= 0 {
			before = &known[i]
		}
		if kind := eventType(before, now); kind != "" {
			r.Recorder.Eventf(registry, nil, kind, now.Reason, now.Type, "%s", cut(now.Message, noteBytes))
		}
	}
}

// eventType is that of the event for a condition that was before, or was not there (nil); empty if it is no event.
func eventType(before *outline, now metav1.Condition) string {
	switch {
	case before != nil && before.status == now.Status && before.reason == now.Reason:
		return ""
	case now.Type == v1alpha1.ConditionReconciling, now.Type == v1alpha1.ConditionDegraded, // the part that is at fault says so
		now.Status == metav1.ConditionUnknown, underWay[now.Reason]:
		return ""
	case now.Type == v1alpha1.ConditionReady && now.Status == metav1.ConditionFalse:
		return "" // the part that failed says so, or Stalled does
	case now.Type == v1alpha1.ConditionStalled || now.Status == metav1.ConditionFalse || needsAttention[now.Reason]:
		return corev1.EventTypeWarning
	case now.Type != v1alpha1.ConditionReady && (before == nil || before.status != metav1.ConditionFalse || underWay[before.reason]):
		return ""
	}
	return corev1.EventTypeNormal
}

// recordedConditions are the conditions of one object that events were recorded of.
type recordedConditions struct {
	uid        types.UID
	conditions []outline
	// refused are the children that were refused for good.
	refused []string
}

func refusedForGood(refused []refusal) (ids []string) {
	for _, f := range refused {
		if f.permanent {
			ids = append(ids, f.id())
		}
	}
	return ids
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
