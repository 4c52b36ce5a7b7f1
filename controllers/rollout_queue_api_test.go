package controllers

import (
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// failedUpgrade runs two registries, of which a new release of the operator has upgraded one, in vain.
func failedUpgrade(t *testing.T) (failed, waiting *v1alpha1.PackRegistry) {
	t.Helper()
	needAPI(t)
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	registries := map[string]*v1alpha1.PackRegistry{}
	for _, name := range []string{"a", "b"} {
		registries[name] = runningRegistry(t, namespace, name, func(*v1alpha1.PackRegistry) {})
	}
	o.settle(t)
	o.stop()
	startUpgrade(t, "2.0.0", "registry:new", namespace)
	eventually(t, "one is upgraded", func() error {
		failed, waiting = registries["a"], registries["b"]
		if imageRun(t, namespace, "b") == "registry:new" {
			failed, waiting = waiting, failed
		}
		if imageRun(t, namespace, failed.Name) != "registry:new" {
			return errors.New("not yet")
		}
		return nil
	})
	d := get(t, namespace, failed.Name, &appsv1.Deployment{})
	d.Status.ObservedGeneration = d.Generation
	d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"})
	must(t, api.Status().Update(t.Context(), d))
	wantCondition(t, failed, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDeadlineExceeded)
	wantCondition(t, waiting, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "waits until the upgrade of another registry")
	return failed, waiting
}

func wantUpgraded(t *testing.T, r *v1alpha1.PackRegistry) {
	t.Helper()
	eventually(t, r.Name+" runs the new image", func() error {
		if image := imageRun(t, r.Namespace, r.Name); image != "registry:new" {
			return errors.New(image)
		}
		return nil
	})
}

// A change of a spec waits for no slot, also where it could not be carried out at once.
func TestAPIAChangedSpecWaitsForNoSlot(t *testing.T) {
	t.Parallel()
	_, waiting := failedUpgrade(t)
	patchSpec(t, waiting, `{"tls":{"clientCARef":{"name":"clients"}}}`)
	wantCondition(t, waiting, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "clients")
	eventually(t, "the change was seen", func() error {
		if now := get(t, waiting.Namespace, waiting.Name, &v1alpha1.PackRegistry{}); now.Status.ObservedGeneration != now.Generation {
			return fmt.Errorf("%d of %d", now.Status.ObservedGeneration, now.Generation)
		}
		return nil
	})
	ca := certificateSecret(t, waiting.Namespace, "clients", now.AddDate(-1, 0, 0), now.AddDate(9, 0, 0))
	ca.Name, ca.Type, ca.Data = "clients", corev1.SecretTypeOpaque, map[string][]byte{children.CAKey: ca.Data[corev1.TLSCertKey]}
	must(t, api.Create(t.Context(), ca))
	wantUpgraded(t, waiting)
	if from := get(t, waiting.Namespace, waiting.Name, &appsv1.Deployment{}).Annotations[children.AnnotationUpgradedFrom]; from != "" {
		t.Errorf("it counts as upgraded from %q, which others would wait for", from)
	}
}

// One whose upgrade failed, and that was suspended since, is somebody's to look at: nobody waits for it.
func TestAPIASuspendedUpgradeHoldsUpNobody(t *testing.T) {
	t.Parallel()
	failed, waiting := failedUpgrade(t)
	patchSpec(t, failed, `{"suspend":true}`)
	wantUpgraded(t, waiting)
}

// Where pods stay the same an upgrade is none, also of an operator that noted less on the Deployment.
func TestAPIAnEarlierOperatorsDeploymentIsNoUpgrade(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	names := []string{"a", "b"}
	for _, name := range names {
		runningRegistry(t, namespace, name, func(*v1alpha1.PackRegistry) {})
	}
	o.settle(t)
	o.stop()
	for _, name := range names {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, children.AnnotationReplicas)
		must(t, api.Patch(t.Context(), get(t, namespace, name, &appsv1.Deployment{}), client.RawPatch(types.MergePatchType, patch)))
		rollOut(t, namespace, name)
	}
	o = startRelease(t, "1.1.0", namespace, interceptor.Funcs{})
	o.settle(t)
	for _, name := range names {
		a := get(t, namespace, name, &appsv1.Deployment{}).Annotations
		if a[children.AnnotationVersion] != "1.1.0 registry:test" || a[children.AnnotationUpgradedFrom] != "" || a[children.AnnotationReplicas] != "1" {
			t.Errorf("%s: %v", name, a)
		}
	}
}
