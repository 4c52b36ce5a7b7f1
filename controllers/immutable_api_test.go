package controllers

import (
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// createWith creates a PackRegistry with changes to the valid spec.
func createWith(t *testing.T, namespace, name, changes string) *v1alpha1.PackRegistry {
	t.Helper()
	u := registryWith(t, namespace, name, changes)
	must(t, api.Create(t.Context(), u))
	return &v1alpha1.PackRegistry{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: u.GetUID()}}
}

// deleteAll deletes a PackRegistry and what goes with it, as the garbage collector would.
func deleteAll(t *testing.T, r *v1alpha1.PackRegistry) {
	t.Helper()
	must(t, api.Delete(t.Context(), r.DeepCopy()))
	for _, kind := range []string{"apps/v1/Deployment", "v1/Service", "v1/Secret", "v1/ConfigMap"} {
		list := &unstructured.UnstructuredList{}
		gvk := schemaOf(kind)
		list.SetGroupVersionKind(gvk)
		must(t, api.List(t.Context(), list, client.InNamespace(r.Namespace), client.MatchingLabels{children.LabelRegistry: r.Name}))
		for i := range list.Items {
			if metav1.GetControllerOf(&list.Items[i]) != nil {
				must(t, client.IgnoreNotFound(api.Delete(t.Context(), &list.Items[i])))
			}
		}
	}
	eventually(t, "the Deployment is gone", func() error {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(r), &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
			return errors.Join(err, errors.New("still there"))
		}
		return nil
	})
}

// A claim that was kept is used by the next PackRegistry of the name as it is.
func TestAPIAKeptClaimIsUsedAsItIs(t *testing.T) {
	needAPI(t)
	t.Parallel()
	const made = `{storage: {persistentVolumeClaim: {storageClassName: slow, accessModes: [ReadWriteMany], dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: yesterday}}},
		auth: {secretRefs: null, anonymous: {}}, tls: {secretRef: null, disabled: {}}}`
	const plain = `{auth: {secretRefs: null, anonymous: {}}, tls: {secretRef: null, disabled: {}}}`
	for _, tt := range []struct{ name, changes, stalled string }{
		{"nothing is asked for", plain, ""},
		{"the same is asked for", made, ""},
		{"another class", `{storage: {persistentVolumeClaim: {storageClassName: fast}}, auth: {secretRefs: null, anonymous: {}}, tls: {secretRef: null, disabled: {}}}`, `has the StorageClass "slow", not "fast"`},
		{"no class at all", `{storage: {persistentVolumeClaim: {storageClassName: ""}}, auth: {secretRefs: null, anonymous: {}}, tls: {secretRef: null, disabled: {}}}`, `has the StorageClass "slow", not ""`},
		{"other modes", `{storage: {persistentVolumeClaim: {accessModes: [ReadWriteOnce]}}, auth: {secretRefs: null, anonymous: {}}, tls: {secretRef: null, disabled: {}}}`, "has the access modes [ReadWriteMany], not [ReadWriteOnce]"},
		{"another source", `{storage: {persistentVolumeClaim: {dataSource: {kind: PersistentVolumeClaim, name: other}}}, auth: {secretRefs: null, anonymous: {}}, tls: {secretRef: null, disabled: {}}}`, "is not filled from PersistentVolumeClaim other a second time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			namespace := newNamespace(t)
			o := startOperator(t, namespace)
			first := createWith(t, namespace, "packs", made)
			bind(t, namespace, "packs-data")
			rollOut(t, namespace, "packs")
			wantCondition(t, first, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
			o.settle(t)
			deleteAll(t, first)
			kept := get(t, namespace, "packs-data", &corev1.PersistentVolumeClaim{})
			must(t, waitForAnotherSecond(t, &v1alpha1.PackRegistry{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: kept.CreationTimestamp}}))
			second := createWith(t, namespace, "packs", tt.changes)
			if tt.stalled != "" {
				wantCondition(t, second, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalid, "PersistentVolumeClaim packs-data was kept", tt.stalled)
				return
			}
			rollOut(t, namespace, "packs")
			wantCondition(t, second, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
			if d := get(t, namespace, "packs", &appsv1.Deployment{}); d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
				t.Errorf("strategy %s on a claim that many nodes can mount", d.Spec.Strategy.Type)
			}
			now := get(t, namespace, "packs-data", &corev1.PersistentVolumeClaim{})
			if now.UID != kept.UID || *now.Spec.StorageClassName != "slow" || now.Spec.DataSource.Name != "yesterday" {
				t.Errorf("%+v", now.Spec)
			}
			o.settle(t)
			writes := o.writes.Load()
			patchSpec(t, second, `{"log":{"level":"info"}}`)
			o.settle(t)
			if live := get(t, namespace, "packs", &v1alpha1.PackRegistry{}); meta.IsStatusConditionFalse(live.Status.Conditions, v1alpha1.ConditionReady) {
				t.Errorf("%+v", live.Status.Conditions)
			}
			o.stop()
			again := startOperator(t, namespace)
			again.settle(t)
			if again.writes.Load() != 0 {
				t.Errorf("%d writes before, %d after a restart", o.writes.Load()-writes, again.writes.Load())
			}
		})
	}
}

// A CA that was copied or restored as another type of Secret is used as it is.
func TestAPISecretsOfAnotherTypeAreUsed(t *testing.T) {
	t.Parallel()
	o, r := onBucket(t, 1)
	o.stop()
	for _, name := range []string{children.CAName(r), children.UsersName(r)} {
		before := get(t, r.Namespace, name, &corev1.Secret{})
		must(t, api.Delete(t.Context(), before.DeepCopy()))
		copied := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: name, Labels: map[string]string{children.LabelManagedBy: children.ManagedBy, children.LabelRegistry: r.Name}},
			Type: "example.com/restored", Data: before.Data}
		must(t, api.Create(t.Context(), copied))
	}
	again := startOperator(t, r.Namespace)
	must(t, api.Update(t.Context(), usersSecret(r.Namespace, htpasswdLine(t, "bob", "secret"))))
	eventually(t, "the users follow", func() error {
		if users := get(t, r.Namespace, children.UsersName(r), &corev1.Secret{}); len(linesByUser(users.Data[children.UsersKey])["bob"]) == 0 {
			return fmt.Errorf("%s", users.Data[children.UsersKey])
		}
		return nil
	})
	again.settle(t)
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}
