package controllers

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

func keysSecret(namespace, secret string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys", Namespace: namespace},
		Data: map[string][]byte{accessKeyID: []byte("id"), secretAccessKey: []byte(secret)}}
}

// onBucket brings a PackRegistry with a bucket and a certificate of its own to Ready.
func onBucket(t *testing.T, replicas int32) (*operator, *v1alpha1.PackRegistry) {
	t.Helper()
	needAPI(t)
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	r := newRegistry(namespace)
	r.Spec.Replicas = &replicas
	r.Spec.Storage = v1alpha1.StorageSpec{S3: &v1alpha1.S3Spec{Bucket: "packs", Endpoint: "http://minio:9000", SecretRef: &v1alpha1.SecretRef{Name: "keys"}}}
	r.Spec.TLS = v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}}
	must(t, api.Create(t.Context(), r))
	wantCondition(t, r, v1alpha1.ConditionStorageReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "Secret keys does not exist", accessKeyID)
	wantKstatus(t, r, status.InProgressStatus)
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	must(t, api.Create(t.Context(), keysSecret(namespace, "first-secret")))
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	return o, r
}

// configOf is the Secret that a registry's pods run with.
func configOf(t *testing.T, r *v1alpha1.PackRegistry) *corev1.Secret {
	t.Helper()
	d := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
	return get(t, r.Namespace, r.Name+"-config-"+d.Spec.Template.Labels[children.LabelConfig], &corev1.Secret{})
}

func TestAPIBucket(t *testing.T) {
	t.Parallel()
	o, r := onBucket(t, 3)
	live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
	if live.Status.Storage != "S3/packs" || live.Status.ReadyReplicas != 3 {
		t.Errorf("%+v", live.Status)
	}
	first := configOf(t, r)
	if !strings.Contains(string(first.Data["aws-credentials"]), "first-secret") || strings.Contains(string(first.Data["config.yml"]), "first-secret") {
		t.Errorf("%s", first.Data["config.yml"])
	}
	d := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		t.Errorf("strategy %s", d.Spec.Strategy.Type)
	}
	// Nothing is written by an operator that has just started: neither certificates nor names are made anew.
	o.settle(t)
	o.stop()
	before := versions(t, r.Namespace)
	again := startOperator(t, r.Namespace)
	again.settle(t)
	if after := versions(t, r.Namespace); again.writes.Load() != 0 || !maps.Equal(before, after) {
		t.Errorf("%d writes after a restart:\n%v\n%v", again.writes.Load(), before, after)
	}
	// Another key rolls the pods; a Secret that is gone or broken leaves them as they are, and is reported by name.
	must(t, api.Update(t.Context(), keysSecret(r.Namespace, "second-secret")))
	eventually(t, "the pods roll", func() error {
		if now := configOf(t, r); now.Name == first.Name || !strings.Contains(string(now.Data["aws-credentials"]), "second-secret") {
			return errors.New("not yet")
		}
		return nil
	})
	second := configOf(t, r)
	broken := keysSecret(r.Namespace, "x")
	delete(broken.Data, secretAccessKey)
	must(t, api.Update(t.Context(), broken))
	wantCondition(t, r, v1alpha1.ConditionStorageReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, "Secret keys has no key "+secretAccessKey)
	must(t, api.Delete(t.Context(), broken))
	wantCondition(t, r, v1alpha1.ConditionStorageReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "keys")
	again.settle(t)
	if now := configOf(t, r); now.Name != second.Name {
		t.Errorf("the pods were rolled to %s", now.Name)
	}
	text := fmt.Sprintf("%+v", get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{}).Status)
	if strings.Contains(text, "-secret") {
		t.Errorf("a secret in the status: %s", text)
	}
}

func TestAPISelfSigned(t *testing.T) {
	t.Parallel()
	_, r := onBucket(t, 1)
	ca := get(t, r.Namespace, "packs-registry-ca", &corev1.Secret{})
	bundle := get(t, r.Namespace, "packs-registry-ca", &corev1.ConfigMap{})
	leaf := get(t, r.Namespace, "packs-registry-tls", &corev1.Secret{})
	if bundle.Data["ca.crt"] != string(ca.Data["ca.crt"]) || bundle.Data["ca.crt"] != string(leaf.Data["ca.crt"]) || bundle.Data["ca.crt"] == "" {
		t.Error("the CA is not published as it is")
	}
	if strings.Contains(fmt.Sprint(bundle.Data), "PRIVATE") {
		t.Error("the CA's key is published")
	}
	live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
	if c := live.Status.Certificate; c == nil || !strings.Contains(fmt.Sprint(c.DNSNames), "packs.example.com packs."+r.Namespace+".svc") || !strings.Contains(c.Issuer, r.Namespace+"/packs") {
		t.Errorf("%+v", c)
	}
	// Another host: another certificate of the same CA, in place.
	config := configOf(t, r).Name
	must(t, api.Patch(t.Context(), live, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"hosts":["other.example.com"]}}`))))
	eventually(t, "the certificate is for the other host", func() error {
		now := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{}).Status.Certificate
		if now == nil || now.DNSNames[0] != "other.example.com" {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	if now := get(t, r.Namespace, "packs-registry-ca", &corev1.Secret{}); now.ResourceVersion != ca.ResourceVersion {
		t.Error("the CA was written to")
	}
	if now := configOf(t, r).Name; now != config {
		t.Error("the pods were rolled for a certificate")
	}
	// A certificate that somebody deleted or broke comes back; a CA that is broken is left for a person to look at.
	must(t, api.Delete(t.Context(), get(t, r.Namespace, "packs-registry-tls", &corev1.Secret{})))
	eventually(t, "the certificate comes back", func() error {
		now := &corev1.Secret{}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(leaf), now); err != nil {
			return err
		}
		if now.UID == leaf.UID {
			return errors.New("it is still the old one")
		}
		return nil
	})
	broken := get(t, r.Namespace, "packs-registry-ca", &corev1.Secret{})
	broken.Data["tls.key"] = []byte("broken")
	must(t, api.Update(t.Context(), broken))
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, "Secret packs-registry-ca cannot be used", "delete it for a new CA")
	must(t, api.Delete(t.Context(), broken))
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionTrue, v1alpha1.ReasonCertificateValid)

	// The CA stays with the packs, and is found again.
	kept := get(t, r.Namespace, "packs-registry-ca", &corev1.Secret{})
	if len(kept.OwnerReferences) > 0 {
		t.Error("the CA goes with the PackRegistry, and the packs stay")
	}
}

func TestAPIDisruptionBudget(t *testing.T) {
	t.Parallel()
	_, r := onBucket(t, 1)
	key := client.ObjectKeyFromObject(r)
	if err := api.Get(t.Context(), key, &policyv1.PodDisruptionBudget{}); !apierrors.IsNotFound(err) {
		t.Errorf("one replica has a budget: %v", err)
	}
	change := func(patch string) {
		t.Helper()
		must(t, api.Patch(t.Context(), get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{}), client.RawPatch(types.MergePatchType, []byte(patch))))
	}
	gone := func() {
		t.Helper()
		eventually(t, "the budget goes", func() error {
			if err := api.Get(t.Context(), key, &policyv1.PodDisruptionBudget{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%w", errors.Join(err, errors.New("it is still there")))
			}
			return nil
		})
	}
	change(`{"spec":{"replicas":2}}`)
	if b := get(t, r.Namespace, r.Name, &policyv1.PodDisruptionBudget{}); b.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("%+v", b.Spec)
	}
	change(`{"spec":{"podDisruptionBudget":{"enabled":false}}}`)
	gone()
	change(`{"spec":{"podDisruptionBudget":null}}`)
	get(t, r.Namespace, r.Name, &policyv1.PodDisruptionBudget{})
	change(`{"spec":{"replicas":1}}`)
	gone()
}

// Of two that want one host, or one claim, the younger is Stalled, and goes on by itself when the older is gone.
func TestAPIConflicts(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	startOperator(t, namespace)
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	older := newRegistry(namespace)
	must(t, api.Create(t.Context(), older))
	get(t, namespace, "packs", &appsv1.Deployment{})
	must(t, waitForAnotherSecond(t, older))
	host, claim := newRegistry(namespace), newRegistry(namespace)
	host.Name, claim.Name = "host", "claim"
	claim.Spec.Hosts = []string{"other.example.com"}
	claim.Spec.Storage.PersistentVolumeClaim = &v1alpha1.PersistentVolumeClaimSpec{ClaimName: "packs-data"}
	must(t, api.Create(t.Context(), host))
	must(t, api.Create(t.Context(), claim))
	wantCondition(t, host, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonConflict, "host packs.example.com belongs to PackRegistry packs")
	wantCondition(t, claim, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonConflict, "PersistentVolumeClaim packs-data belongs to PackRegistry packs")
	wantKstatus(t, host, status.FailedStatus)
	if c := meta.FindStatusCondition(get(t, namespace, "packs", &v1alpha1.PackRegistry{}).Status.Conditions, v1alpha1.ConditionStalled); c != nil {
		t.Errorf("the older is Stalled too: %+v", c)
	}
	for _, name := range []string{"host", "claim"} {
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s runs: %v", name, err)
		}
	}
	must(t, api.Delete(t.Context(), older))
	for _, name := range []string{"host", "claim"} {
		get(t, namespace, name, &appsv1.Deployment{})
	}
}

// waitForAnotherSecond makes what is created next younger: creation times are in seconds.
func waitForAnotherSecond(t *testing.T, r *v1alpha1.PackRegistry) error {
	t.Helper()
	eventually(t, "another second begins", func() error {
		if time.Since(r.CreationTimestamp.Time) < time.Second {
			return errors.New("not yet")
		}
		return nil
	})
	return nil
}

func TestAPIClaimsGrow(t *testing.T) {
	t.Parallel()
	_, r := ready(t)
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "class-of-" + r.Namespace}, Provisioner: "example.com/none", AllowVolumeExpansion: ptr.To(true)}
	must(t, api.Create(t.Context(), class))
	claim := get(t, r.Namespace, "packs-data", &corev1.PersistentVolumeClaim{})
	must(t, api.Patch(t.Context(), claim, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"storageClassName":%q}}`, class.Name))))
	claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	must(t, api.Status().Update(t.Context(), claim))
	grow := func(size string) error {
		return api.Patch(t.Context(), get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{}),
			client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"storage":{"persistentVolumeClaim":{"size":%q}}}}`, size)))
	}
	must(t, grow("2Gi"))
	wantCondition(t, r, v1alpha1.ConditionStorageReady, metav1.ConditionTrue, v1alpha1.ReasonResizing, "growing to 2Gi")
	claim = get(t, r.Namespace, "packs-data", &corev1.PersistentVolumeClaim{})
	if got := claim.Spec.Resources.Requests[corev1.ResourceStorage]; got.String() != "2Gi" {
		t.Errorf("the claim asks for %s", got.String())
	}
	claim.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimControllerResizeError, Status: corev1.ConditionTrue, Message: "quota of the array"}}
	must(t, api.Status().Update(t.Context(), claim))
	wantCondition(t, r, v1alpha1.ConditionStorageReady, metav1.ConditionFalse, v1alpha1.ReasonCannotGrow, "did not grow to 2Gi: quota of the array")
	claim = get(t, r.Namespace, "packs-data", &corev1.PersistentVolumeClaim{})
	claim.Status.Conditions, claim.Status.Capacity = nil, corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}
	must(t, api.Status().Update(t.Context(), claim))
	wantCondition(t, r, v1alpha1.ConditionStorageReady, metav1.ConditionTrue, v1alpha1.ReasonClaimBound)
	// A class that cannot: the API server refuses the claim's change, which is reported as what it is.
	class.AllowVolumeExpansion = ptr.To(false)
	must(t, api.Update(t.Context(), class))
	must(t, grow("3Gi"))
	wantCondition(t, r, v1alpha1.ConditionStorageReady, metav1.ConditionFalse, v1alpha1.ReasonCannotGrow, "cannot grow to 3Gi", "allowVolumeExpansion")
	wantCondition(t, r, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonCannotGrow, "cannot grow to 3Gi")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}
