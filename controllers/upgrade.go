package controllers

import (
	"context"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/controllers/children"
)

// This file lets a new version of the operator, which would render other pods, roll registries by turns: a version that
// does not work then stops one of them, not all.

// upgradePoll is how often a registry asks for its turn.
const upgradePoll = 3 * time.Second

// upgrades grants turns. What is under way is read from the Deployments, so that it survives the operator.
type upgrades struct {
	mu sync.Mutex
	// granted are turns whose Deployments the cache does not show yet.
	granted map[types.NamespacedName]bool
}

// release tells what an operator renders by default: its version and the registry's image.
func (r *Reconciler) release() string { return r.Version + " " + r.Image }

// isUpgrade says whether the pods would be rolled for the operator's sake alone: another release rendered them, and the spec
// is that of the last look.
func isUpgrade(o *observed, want func(release string) (child, error)) (bool, error) {
	live := o.deployment
	if live == nil || live.Annotations[children.AnnotationVersion] == o.release || o.registry.Status.ObservedGeneration != o.registry.Generation {
		return false, nil
	}
	asBefore, err := want(live.Annotations[children.AnnotationVersion])
	if err != nil {
		return false, err
	}
	same, err := asBefore.upToDate()
	return !same, err
}

// takeTurn lets a registry be upgraded now, or says why not.
func (r *Reconciler) takeTurn(ctx context.Context, o *observed) (wait string, err error) {
	u := &r.turns
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.granted == nil {
		u.granted = map[types.NamespacedName]bool{}
	}
	me := client.ObjectKeyFromObject(o.registry)
	if u.granted[me] {
		return "", nil
	}
	list := &appsv1.DeploymentList{}
	if err := r.List(ctx, list, client.MatchingLabels{children.LabelManagedBy: children.ManagedBy}); err != nil {
		return "", err
	}
	busy := 0
	for i := range list.Items {
		d := &list.Items[i]
		key := types.NamespacedName{Namespace: d.Namespace, Name: d.Labels[children.LabelRegistry]}
		if d.Annotations[children.AnnotationVersion] != o.release || d.Annotations[children.AnnotationUpgradedFrom] == "" {
			if u.granted[key] {
				busy++
			}
			continue
		}
		delete(u.granted, key)
		if c := deploymentCondition(d, appsv1.DeploymentProgressing); c != nil && c.Status == corev1.ConditionFalse {
			return "its upgrade waits until the upgrade of another registry, which failed, is mended", nil
		}
		if rolling(d) {
			busy++
		}
	}
	if busy >= max(r.MaxConcurrentUpgrades, 1) {
		return "its upgrade waits for its turn (--max-concurrent-upgrades)", nil
	}
	u.granted[me] = true
	return "", nil
}
