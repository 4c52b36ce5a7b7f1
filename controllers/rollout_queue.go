package controllers

import (
	"cmp"
	"context"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file lets a new version of the operator, which would render other pods, roll few registries at a time: a version that
// does not work then stops one of them, not all.

// upgradePoll is how often a registry that waits for a slot is reconciled; with many that wait, each is so much more seldom that all of them
// are ten times a second.
const upgradePoll = 3 * time.Second

// upgrades hands out the slots of a rollout. What is under way is read from the Deployments, so that it survives the operator; what is
// kept in memory are only slots whose Deployments the cache does not show yet.
type upgrades struct {
	mu      sync.Mutex
	slots   map[types.NamespacedName]types.UID
	waiting map[types.NamespacedName]bool
}

// release frees a slot that was not used, or is not needed any more, and the wait for one.
func (u *upgrades) release(name types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.slots, name)
	delete(u.waiting, name)
}

// release is what an operator renders by default: its version, the registry's image, and the defaults of pods where they
// are not the built-in ones.
func (r *Reconciler) release() string {
	release := r.Version + " " + r.Image
	if defaults := r.PodDefaults.Fingerprint(); defaults != "" {
		release += " " + defaults
	}
	return release
}

// specChanged says whether the spec is another than the one that the pods were brought in line with. That one was only looked
// at says nothing: what it names may not have been there.
func specChanged(o *observed) bool { return appliedGeneration(o) != o.registry.Generation }

// appliedGeneration is the generation that the pods were brought in line with. An earlier operator noted only the one that it
// looked at.
func appliedGeneration(o *observed) int64 {
	if o.deployment == nil {
		return 0
	}
	return cmp.Or(o.registry.Status.AppliedGeneration, o.registry.Status.ObservedGeneration)
}

// isUpgrade says whether pods that serve would be rolled for the operator's sake alone: another release rendered them, and the
// spec is that of the last look. Where none serves there is nothing to be careful with, and one that was broken before must
// not hold up the others.
func isUpgrade(o *observed, want func(release string) (child, error)) (bool, error) {
	live := o.deployment
	if live == nil || live.Status.AvailableReplicas == 0 || live.Annotations[children.AnnotationVersion] == o.release || specChanged(o) {
		return false, nil
	}
	asBefore, err := want(live.Annotations[children.AnnotationVersion])
	if err != nil {
		return false, err
	}
	same, err := asBefore.upToDate()
	return !same, err
}

// acquireSlot lets a registry be upgraded now, or says why not, and when to ask again.
func (r *Reconciler) acquireSlot(ctx context.Context, o *observed) (wait string, again time.Duration, err error) {
	u := &r.slots
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.slots == nil {
		u.slots, u.waiting = map[types.NamespacedName]types.UID{}, map[types.NamespacedName]bool{}
	}
	me := client.ObjectKeyFromObject(o.registry)
	if u.slots[me] == o.deployment.UID {
		return "", 0, nil
	}
	list := &appsv1.DeploymentList{}
	// They are only looked at.
	if err := r.List(ctx, list, client.MatchingLabels{children.LabelManagedBy: children.ManagedBy}, client.UnsafeDisableDeepCopy); err != nil {
		return "", 0, err
	}
	given := func(up types.NamespacedName) bool { return r.givenUp(ctx, up) }
	if wait = u.refusal(list.Items, o.release, max(r.MaxConcurrentUpgrades, 1), given); wait != "" {
		u.waiting[me] = true
		return wait, max(upgradePoll, time.Duration(len(u.waiting))*100*time.Millisecond), nil
	}
	u.slots[me] = o.deployment.UID
	delete(u.waiting, me)
	return "", 0, nil
}

// givenUp says whether a registry is suspended, or is no more: somebody looks after its Deployment by hand then.
func (r *Reconciler) givenUp(ctx context.Context, name types.NamespacedName) bool {
	registry := &v1alpha1.PackRegistry{}
	err := r.Get(ctx, name, registry)
	return apierrors.IsNotFound(err) || err == nil && registry.Spec.Suspend
}

// refusal says why no other registry can be upgraded now, or "".
func (u *upgrades) refusal(deployments []appsv1.Deployment, release string, limit int, givenUp func(types.NamespacedName) bool) string {
	busy, there := 0, map[types.NamespacedName]bool{}
	for i := range deployments {
		d := &deployments[i]
		key := types.NamespacedName{Namespace: d.Namespace, Name: d.Labels[children.LabelRegistry]}
		there[key] = true
		if uid, ok := u.slots[key]; ok && uid == d.UID && d.Annotations[children.AnnotationVersion] != release {
			busy++ // what was applied in its slot is on its way here
			continue
		}
		delete(u.slots, key)
		if d.Annotations[children.AnnotationVersion] != release || d.Annotations[children.AnnotationUpgradedFrom] == "" {
			continue
		}
		progress := deploymentCondition(d, appsv1.DeploymentProgressing)
		if progress != nil && progress.Status == corev1.ConditionFalse {
			if givenUp(key) {
				continue
			}
			return "its upgrade waits until the upgrade of another registry, which failed, is mended"
		}
		// One that somebody has paused gets nowhere, and nobody is to wait for it.
		if rolling(d) && (progress == nil || progress.Reason != "DeploymentPaused") {
			busy++
		}
	}
	for key := range u.slots {
		if !there[key] {
			delete(u.slots, key)
		}
	}
	if busy >= limit {
		return "its upgrade waits for a slot (--max-concurrent-upgrades)"
	}
	return ""
}
