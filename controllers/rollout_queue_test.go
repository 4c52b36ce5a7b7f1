package controllers

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"packregistry.dev/controllers/children"
)

func TestRefusalOfUpgrades(t *testing.T) {
	const release = "2 image"
	deployment := func(name, version, from string, rolling bool, failed bool) appsv1.Deployment {
		updated := int32(1)
		if rolling {
			updated = 0
		}
		d := deploymentWith(1, 1, 1, updated, 1)
		d.Name, d.Namespace, d.UID = name, "team", types.UID(name)
		d.Labels = map[string]string{children.LabelRegistry: name}
		d.Annotations = map[string]string{children.AnnotationVersion: version, children.AnnotationUpgradedFrom: from}
		d.Status.Conditions = nil
		if failed {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}
		}
		return *d
	}
	paused := deployment("a", release, "1 image", true, false)
	paused.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionUnknown, Reason: "DeploymentPaused"}}
	for name, tt := range map[string]struct {
		deployments []appsv1.Deployment
		slots       string
		limit       int
		refused     bool
	}{
		"nobody moves":                           {[]appsv1.Deployment{deployment("a", "1 image", "", false, false)}, "", 1, false},
		"one moves":                              {[]appsv1.Deployment{deployment("a", release, "1 image", true, false)}, "", 1, true},
		"one of two moves":                       {[]appsv1.Deployment{deployment("a", release, "1 image", true, false)}, "", 2, false},
		"one has moved":                          {[]appsv1.Deployment{deployment("a", release, "1 image", false, false)}, "", 1, false},
		"one that was made anew":                 {[]appsv1.Deployment{deployment("a", release, "", true, false)}, "", 1, false},
		"one that is rolled by an older release": {[]appsv1.Deployment{deployment("a", "1 image", "0 image", true, false)}, "", 1, false},
		"a slot that the cache does not show":    {[]appsv1.Deployment{deployment("a", "1 image", "", false, false)}, "a", 1, true},
		"one has failed":                         {[]appsv1.Deployment{deployment("a", release, "1 image", true, true)}, "", 9, true},
		"a slot of one that is gone":             {nil, "a", 1, false},
		"a slot of one that was made anew":       {[]appsv1.Deployment{deployment("a", "1 image", "", false, false)}, "earlier", 1, false},
		"a slot that another change overtook":    {[]appsv1.Deployment{deployment("a", release, "", true, false)}, "a", 1, false},
		"one is paused":                          {[]appsv1.Deployment{paused}, "", 1, false},
	} {
		u := &upgrades{slots: map[types.NamespacedName]types.UID{}}
		if tt.slots != "" {
			u.slots[types.NamespacedName{Namespace: "team", Name: "a"}] = types.UID(tt.slots)
		}
		if got := u.refusal(tt.deployments, release, tt.limit, func(types.NamespacedName) bool { return false }); (got != "") != tt.refused {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Other defaults of pods are another release: registries are upgraded to them by slots, instead of being rolled all at once.
func TestDefaultsArePartOfTheRelease(t *testing.T) {
	builtin := &Reconciler{Version: "1", Image: "image"}
	if got := builtin.release(); got != "1 image" {
		t.Errorf("%q: what earlier operators noted must stay the same", got)
	}
	defaults, err := children.ParsePodDefaults(`{"limits":{"memory":"1Gi"}}`, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := (&Reconciler{Version: "1", Image: "image", PodDefaults: defaults}).release(); got == builtin.release() {
		t.Errorf("%q is the release of other defaults too", got)
	}
}
