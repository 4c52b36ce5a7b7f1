package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
)

// This file waits for what a PackRegistry reports, and changes its spec.

func wantKstatus(t *testing.T, r *v1alpha1.PackRegistry, want status.Status) {
	t.Helper()
	eventually(t, "kstatus "+string(want), func() error {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PackRegistry"))
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(r), u); err != nil {
			return err
		}
		got, err := status.Compute(u)
		if err == nil && got.Status != want {
			err = fmt.Errorf("%s: %s", got.Status, got.Message)
		}
		return err
	})
}

func wantCondition(t *testing.T, r *v1alpha1.PackRegistry, kind string, want metav1.ConditionStatus, reason string, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s=%s (%s)", kind, want, reason), func() error {
		live := &v1alpha1.PackRegistry{}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(r), live); err != nil {
			return err
		}
		c := meta.FindStatusCondition(live.Status.Conditions, kind)
		if c == nil || c.Status != want || c.Reason != reason {
			return fmt.Errorf("%+v", c)
		}
		for _, w := range words {
			if !strings.Contains(c.Message, w) {
				return fmt.Errorf("the message lacks %q: %s", w, c.Message)
			}
		}
		return nil
	})
}

// ready brings a PackRegistry to Ready in a namespace of its own.
func ready(t *testing.T) (*operator, *v1alpha1.PackRegistry) {
	t.Helper()
	needAPI(t)
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	r := newRegistry(namespace)
	must(t, api.Create(t.Context(), r))
	bind(t, namespace, "packs-data")
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	return o, r
}

func patchSpec(t *testing.T, r *v1alpha1.PackRegistry, patch string) {
	t.Helper()
	must(t, api.Patch(t.Context(), r.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":`+patch+`}`))))
}

// versions are the resourceVersions of all that the operator made.
func versions(t *testing.T, namespace string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, list := range []client.ObjectList{&v1alpha1.PackRegistryList{}, &appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.SecretList{}, &corev1.PersistentVolumeClaimList{}} {
		must(t, api.List(t.Context(), list, client.InNamespace(namespace)))
		must(t, meta.EachListItem(list, func(o runtime.Object) error {
			object := o.(client.Object)
			all[fmt.Sprintf("%T/%s", o, object.GetName())] = object.GetResourceVersion()
			return nil
		}))
	}
	return all
}
