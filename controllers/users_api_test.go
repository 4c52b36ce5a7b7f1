package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

func TestAPIMissingSecretsAreReportedAndWaitedFor(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	startOperator(t, namespace)
	r := newRegistry(namespace)
	must(t, api.Create(t.Context(), r))
	wantCondition(t, r, v1alpha1.ConditionAuthReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "Secret users does not exist")
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "Secret certificate does not exist")
	wantCondition(t, r, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonSecretMissing)
	wantKstatus(t, r, status.InProgressStatus)
	must(t, api.Create(t.Context(), usersSecret(namespace, "ann:plain")))
	wantCondition(t, r, v1alpha1.ConditionAuthReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, "line 1", "bcrypt")
	must(t, api.Update(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "p"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	get(t, namespace, "packs", &appsv1.Deployment{}) // nobody had to ask for it again
}

func TestAPIUsersFollowTheirSecretAndOutliveIt(t *testing.T) {
	t.Parallel()
	_, r := ready(t)
	line := htpasswdLine(t, "bob", "p")
	must(t, api.Update(t.Context(), usersSecret(r.Namespace, line)))
	merged := func() string {
		return string(get(t, r.Namespace, "packs-registry-users", &corev1.Secret{}).Data["htpasswd"])
	}
	eventually(t, "the new user is merged", func() error {
		if got := merged(); got != line+"\n" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	must(t, api.Delete(t.Context(), usersSecret(r.Namespace, "")))
	wantCondition(t, r, v1alpha1.ConditionAuthReady, metav1.ConditionFalse, v1alpha1.ReasonLastGoodUsers, "Secret users does not exist", "stay")
	wantCondition(t, r, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonLastGoodUsers, "Secret users does not exist", "stay")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	wantKstatus(t, r, status.CurrentStatus)
	eventually(t, "a metric says that it is degraded", func() error {
		if !measured(t, r.Namespace, "packregistry_degraded") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	if merged() != line+"\n" {
		t.Error("the last good users are gone")
	}
	must(t, api.Create(t.Context(), usersSecret(r.Namespace, line)))
	eventually(t, "nothing is degraded any more", func() error {
		must(t, api.Get(t.Context(), client.ObjectKeyFromObject(r), r))
		if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionDegraded); c != nil || measured(t, r.Namespace, "packregistry_degraded") {
			return fmt.Errorf("%v", c)
		}
		return nil
	})
}

func TestAPIVolumesAreSyncedOncePerChange(t *testing.T) {
	t.Parallel()
	o, r := ready(t)
	labels := children.Labels(r)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "packs-1", Namespace: r.Namespace, Labels: labels},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "registry", Image: "registry:test"}}}}
	must(t, api.Create(t.Context(), pod))
	pod.Status.Phase = corev1.PodRunning
	must(t, api.Status().Update(t.Context(), pod))
	seen := func() string {
		return get(t, r.Namespace, "packs-1", &corev1.Pod{}).Annotations[children.AnnotationSecrets]
	}
	eventually(t, "it is annotated", func() error {
		if seen() == "" {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	o.settle(t)
	first, writes := seen(), o.writes.Load()
	must(t, api.Update(t.Context(), usersSecret(r.Namespace, htpasswdLine(t, "bob", "p"))))
	eventually(t, "its volumes are synced", func() error {
		if seen() == first {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	o.settle(t)
	if got := o.writes.Load() - writes; got != 2 { // the merged users, and the pod
		t.Errorf("%d writes for one change", got)
	}
}
