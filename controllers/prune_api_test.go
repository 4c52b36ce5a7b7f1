package controllers

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// Users and keys that nothing uses go, but not before the last pod that mounts them.
func TestAPIWhatNothingUsesGoes(t *testing.T) {
	t.Parallel()
	o, r := onBucket(t, 1)
	must(t, api.Create(t.Context(), certificateSecret(t, r.Namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	ca := get(t, r.Namespace, children.CAName(r), &corev1.Secret{})
	// A copy that somebody keeps of a Secret, labels and all, is theirs.
	backup := get(t, r.Namespace, "packs-registry-tls", &corev1.Secret{}).DeepCopy()
	backup.ObjectMeta = metav1.ObjectMeta{Name: "backup", Namespace: r.Namespace, Labels: backup.Labels}
	must(t, api.Create(t.Context(), backup))

	patchSpec(t, r, `{"tls":{"selfSigned":null,"secretRef":{"name":"certificate"}},"auth":{"secretRefs":null,"anonymous":{}}}`)
	eventually(t, "the Deployment has another configuration", func() error {
		if config := string(configOf(t, r).Data["config.yml"]); strings.Contains(config, "htpasswd") {
			return fmt.Errorf("%s", config)
		}
		return nil
	})
	o.settle(t)
	for _, name := range []string{"packs-registry-tls", "packs-registry-users"} {
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: r.Namespace, Name: name}, &corev1.Secret{}); err != nil {
			t.Errorf("pods of before still mount it: %v", err)
		}
	}
	rollOut(t, r.Namespace, r.Name)
	gone(t, &corev1.Secret{}, r.Namespace, "packs-registry-tls")
	gone(t, &corev1.Secret{}, r.Namespace, "packs-registry-users")
	gone(t, &corev1.ConfigMap{}, r.Namespace, children.CAName(r))
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	o.settle(t)
	get(t, r.Namespace, "backup", &corev1.Secret{})
	// Clients trust the CA, and the packs stay: so does it, and is the same when it is asked for again.
	if now := get(t, r.Namespace, ca.Name, &corev1.Secret{}); now.UID != ca.UID || len(now.OwnerReferences) > 0 {
		t.Errorf("the CA is another, or has owners: %v", now.OwnerReferences)
	}
	patchSpec(t, r, `{"tls":{"secretRef":null,"selfSigned":{}}}`)
	bundle := get(t, r.Namespace, ca.Name, &corev1.ConfigMap{})
	if bundle.Data[children.CAKey] != string(ca.Data[children.CAKey]) {
		t.Error("clients have to trust another CA")
	}
}

// A CA that was given up goes with the packs, where they go: its deletion policy is carried out like theirs.
func TestAPIAGivenUpCAFollowsTheDeletionPolicy(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	startOperator(t, namespace)
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "p"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	r := newRegistry(namespace)
	r.Spec.TLS = v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}}
	r.Spec.Storage.PersistentVolumeClaim.DeletionPolicy = v1alpha1.DeletionDelete
	must(t, api.Create(t.Context(), r))
	bind(t, namespace, "packs-data")
	rollOut(t, namespace, "packs")
	ca := get(t, namespace, children.CAName(r), &corev1.Secret{})
	if len(ca.OwnerReferences) != 1 {
		t.Fatalf("owners %v", ca.OwnerReferences)
	}
	patchSpec(t, r, `{"tls":{"selfSigned":null,"secretRef":{"name":"certificate"}},"storage":{"persistentVolumeClaim":{"deletionPolicy":"Retain"}}}`)
	eventually(t, "the CA is kept", func() error {
		if now := get(t, namespace, ca.Name, &corev1.Secret{}); len(now.OwnerReferences) > 0 {
			return fmt.Errorf("owners %v", now.OwnerReferences)
		}
		return nil
	})
	gone(t, &corev1.ConfigMap{}, namespace, rolledOut(t, r, ca.Name))
	patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`)
	gone(t, &corev1.Secret{}, namespace, ca.Name)
}

// rolledOut waits for the Deployment of a spec that was just changed, plays its controller, and passes a name on.
func rolledOut(t *testing.T, r *v1alpha1.PackRegistry, name string) string {
	t.Helper()
	eventually(t, "the Deployment mounts the other certificate", func() error {
		for _, v := range get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec.Volumes {
			if v.Secret != nil && v.Secret.SecretName == "certificate" {
				return nil
			}
		}
		return fmt.Errorf("not yet")
	})
	rollOut(t, r.Namespace, r.Name)
	return name
}

// Users whose source is gone, and a CA that cannot be used, are not unwanted.
func TestAPIWhatCannotBeMadeAnewStays(t *testing.T) {
	t.Parallel()
	o, r := onBucket(t, 1)
	must(t, api.Delete(t.Context(), get(t, r.Namespace, "users", &corev1.Secret{})))
	broken := get(t, r.Namespace, children.CAName(r), &corev1.Secret{})
	broken.Data["tls.key"] = []byte("broken")
	must(t, api.Update(t.Context(), broken))
	wantCondition(t, r, v1alpha1.ConditionAuthReady, metav1.ConditionFalse, v1alpha1.ReasonLastGoodUsers)
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid)
	o.settle(t)
	for _, name := range []string{"packs-registry-users", "packs-registry-tls", "packs-registry-ca"} {
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: r.Namespace, Name: name}, &corev1.Secret{}); apierrors.IsNotFound(err) {
			t.Errorf("%s is gone", name)
		}
	}
}

// acted waits until the operator has acted upon the spec as it is now.
func acted(t *testing.T, o *operator, r *v1alpha1.PackRegistry) {
	t.Helper()
	eventually(t, "the spec is observed", func() error {
		live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
		if live.Status.ObservedGeneration != live.Generation {
			return fmt.Errorf("generation %d of %d", live.Status.ObservedGeneration, live.Generation)
		}
		return nil
	})
	rollOut(t, r.Namespace, r.Name)
	o.settle(t)
}

// What the spec names is wanted, whoever made it: pods or an Ingress use it.
func TestAPIWhatTheSpecNamesStays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit string
		kept client.Object
	}{
		"a certificate that cert-manager is to renew": {`{"tls":{"selfSigned":null,"issuerRef":{"name":"ca"}}}`,
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "packs-registry-tls"}}},
		"a certificate that a person is to renew": {`{"tls":{"selfSigned":null,"secretRef":{"name":"packs-registry-tls"}}}`,
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "packs-registry-tls"}}},
		"a CA of clients": {`{"tls":{"selfSigned":null,"issuerRef":{"name":"ca"},"clientCARef":{"name":"packs-registry-tls"}}}`,
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "packs-registry-tls"}}},
		"a Secret in a variable": {`{"auth":{"secretRefs":null,"anonymous":{}},"pod":{"env":[{"name":"USERS","valueFrom":{"secretKeyRef":{"name":"packs-registry-users","key":"htpasswd"}}}]}}`,
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "packs-registry-users"}}},
		"a ConfigMap in a variable": {`{"tls":{"selfSigned":null,"disabled":{}},"pod":{"env":[{"name":"CA","valueFrom":{"configMapKeyRef":{"name":"packs-registry-ca","key":"ca.crt"}}}]}}`,
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "packs-registry-ca"}}},
		"a Secret that images are pulled with": {`{"auth":{"secretRefs":null,"anonymous":{}},"pod":{"imagePullSecrets":[{"name":"packs-registry-users"}]}}`,
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "packs-registry-users"}}},
	} {
		t.Run(name, func(t *testing.T) {
			o, r := onBucket(t, 1)
			before := get(t, r.Namespace, tt.kept.GetName(), tt.kept).GetUID()
			patchSpec(t, r, tt.edit)
			acted(t, o, r)
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(tt.kept), tt.kept); err != nil || tt.kept.GetUID() != before {
				t.Errorf("it was deleted: %v, UID %s, before %s", err, tt.kept.GetUID(), before)
			}
		})
	}
}

// Labels make nothing the operator's: `kubectl expose` copies those of the Deployment, and who copies a child takes them along.
func TestAPIWhatPeopleMadeStays(t *testing.T) {
	t.Parallel()
	o, r := onBucket(t, 1)
	mine := metav1.ObjectMeta{Name: "packs-mine", Namespace: r.Namespace, Labels: children.Labels(r)}
	selector := get(t, r.Namespace, r.Name, &corev1.Service{}).Spec.Selector
	config := configOf(t, r)
	theirs := []client.Object{
		&corev1.Service{ObjectMeta: mine, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Selector: selector, Ports: []corev1.ServicePort{{Port: 443}}}},
		&corev1.ConfigMap{ObjectMeta: mine},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: mine.Name, Namespace: mine.Namespace, Labels: config.Labels}},
		&policyv1.PodDisruptionBudget{ObjectMeta: mine, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: selector}}},
		&networkingv1.NetworkPolicy{ObjectMeta: mine, Spec: networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: selector}}},
		&networkingv1.Ingress{ObjectMeta: mine, Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: r.Name, Port: networkingv1.ServiceBackendPort{Number: 443}}}}},
	}
	for _, object := range theirs {
		must(t, api.Create(t.Context(), object))
	}
	patchSpec(t, r, `{"log":{"level":"debug"}}`) // and a configuration of the past is looked for
	eventually(t, "the Deployment has another configuration", func() error {
		if now := configOf(t, r).Name; now == config.Name {
			return fmt.Errorf("still %s", now)
		}
		return nil
	})
	acted(t, o, r)
	gone(t, &corev1.Secret{}, r.Namespace, config.Name) // there are no ReplicaSets here
	for _, object := range theirs {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			t.Errorf("%T: %v", object, err)
		}
	}
}

// A Secret of the CA's name that is somebody else's signs nothing, and is not published.
func TestAPIAForeignCASignsNothing(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	r := newRegistry(namespace)
	r.Spec.TLS = v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}}
	theirs, err := keepCA(r, nil, nil, time.Now())
	must(t, err)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: children.CAName(r), Namespace: namespace}, Type: corev1.SecretTypeTLS, Data: theirs.ca}
	must(t, api.Create(t.Context(), secret))
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "p"))))
	must(t, api.Create(t.Context(), r))
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonConflict, "Secret packs-registry-ca exists already")
	o.settle(t)
	for _, mine := range []struct {
		o    client.Object
		name string
	}{{&corev1.Secret{}, children.TLSSecret(r)}, {&corev1.ConfigMap{}, children.CAName(r)}} {
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: mine.name}, mine.o); !apierrors.IsNotFound(err) {
			t.Errorf("%T %s: %v", mine.o, mine.name, err)
		}
	}
	// It is theirs to take away, and then there is one of ours.
	must(t, api.Delete(t.Context(), secret))
	patchSpec(t, r, `{"log":{"level":"debug"}}`) // else it looks twice a minute
	get(t, namespace, children.TLSSecret(r), &corev1.Secret{})
}

// The configuration that the Deployment names stays, also where no ReplicaSet is made with it.
func TestAPITheConfigurationOfAPausedDeploymentStays(t *testing.T) {
	t.Parallel()
	o, r := ready(t)
	first := configOf(t, r)
	// There are no ReplicaSets in this cluster at all. What was rendered next cannot be applied, so that pods may come of the first.
	policy := interceptor.Funcs{Apply: func(ctx context.Context, c client.WithWatch, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
		if d, ok := intent.(interface{ GetKind() *string }); ok && *d.GetKind() == "Deployment" {
			return forbidden("Deployment", "packs")
		}
		return c.Apply(ctx, intent, opts...)
	}}
	o.stop()
	o = startOperatorWith(t, r.Namespace, policy)
	patchSpec(t, r, `{"log":{"level":"debug"}}`)
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused, "Deployment packs was refused")
	o.settle(t)
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(first), &corev1.Secret{}); err != nil {
		t.Errorf("the configuration that pods would be made with: %v", err)
	}
}
