package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// rolledOut waits until all pods are those of the Deployment as it is now.
func rolledOut(t *testing.T, r *v1alpha1.PackRegistry, config string) {
	t.Helper()
	eventually(t, 3*time.Minute, "the pods are rolled", func() error {
		d := &appsv1.Deployment{}
		if err := kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), d); err != nil {
			return err
		}
		s := d.Status
		if d.Spec.Template.Labels[children.LabelConfig] == config || s.ObservedGeneration != d.Generation || s.UpdatedReplicas != *d.Spec.Replicas ||
			s.AvailableReplicas != *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

func configHash(t *testing.T, r *v1alpha1.PackRegistry) string {
	t.Helper()
	d := &appsv1.Deployment{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), d))
	return d.Spec.Template.Labels[children.LabelConfig]
}

// change edits a PackRegistry as it is now.
func change(t *testing.T, r *v1alpha1.PackRegistry, edit func(*v1alpha1.PackRegistrySpec)) {
	t.Helper()
	eventually(t, 30*time.Second, "the PackRegistry is changed", func() error {
		if err := kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		edit(&r.Spec)
		return kube.Update(t.Context(), r)
	})
}

// Three replicas on one bucket, with a certificate of the operator's own: while clients push and pull, the users change,
// the certificate changes, the credential changes and the pods are rolled, and no request fails.
func TestABucketUnderLoad(t *testing.T) {
	r, client, base := onBucket(t, "bucket", 3)
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), &policyv1.PodDisruptionBudget{}))
	bundle := &corev1.ConfigMap{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: r.Namespace, Name: "bucket-registry-ca"}, bundle))
	l := startLoad(t, client, base)

	// A client of its own, on connections of its own: who asks too early is wrong, and is made to wait.
	bobs := clientInside(t, serviceOf(t, r.Namespace, "bucket"), bundle.Data["ca.crt"])
	asBob := func() (int, error) {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v2/", nil)
		must(t, err)
		q.SetBasicAuth("bob", "builder")
		response, err := bobs.Do(q)
		if err != nil {
			return 0, err
		}
		response.Body.Close()
		return response.StatusCode, nil
	}
	before := podNames(t, r.Namespace)
	must(t, kube.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "more"},
		Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": []byte("bob"), "password": []byte("builder")}}))
	began := time.Now()
	change(t, r, func(s *v1alpha1.PackRegistrySpec) {
		s.Auth.SecretRefs = append(s.Auth.SecretRefs, v1alpha1.AuthSecretRef{Name: "more"})
	})
	eventually(t, 10*time.Second, "every replica knows the new user", func() error {
		for range 20 {
			if code, err := asBob(); err != nil || code != http.StatusOK {
				return fmt.Errorf("%d %w", code, err)
			}
			bobs.CloseIdleConnections() // another replica may answer the next
		}
		return nil
	})
	t.Logf("new users in effect after %s on 3 replicas", time.Since(began).Round(time.Millisecond))

	leaf := &corev1.Secret{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: r.Namespace, Name: "bucket-registry-tls"}, leaf))
	must(t, kube.Delete(t.Context(), leaf)) // as if its time had come
	waitReady(t, r)
	if after := podNames(t, r.Namespace); after != before {
		t.Errorf("pods %s became %s", before, after)
	}

	// What the keys' Secret says beside the keys concerns nobody: the pods are rolled once, for the configuration.
	config := configHash(t, r)
	secret := &corev1.Secret{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: r.Namespace, Name: "keys"}, secret))
	secret.Data["note"] = []byte("not a key")
	must(t, kube.Update(t.Context(), secret))
	change(t, r, func(s *v1alpha1.PackRegistrySpec) { s.Replicas = ptr.To[int32](2); s.Log.Level = "debug" })
	rolledOut(t, r, config)
	waitReady(t, r)
	deployment := &appsv1.Deployment{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), deployment))
	if revision := deployment.Annotations["deployment.kubernetes.io/revision"]; revision != "2" {
		t.Errorf("the pods were rolled to revision %s, not to 2", revision)
	}
	l.noneFailed(t, "users, certificate, number of pods and configuration changed")
}

// replacePod deletes a registry's only pod, without a warning, and waits until another one is ready: what the status says
// may for a moment be what was true of the one before.
func replacePod(t *testing.T, namespace string) {
	t.Helper()
	pod := pods(t, namespace)[0]
	must(t, kube.Delete(t.Context(), &pod, ctrlclient.GracePeriodSeconds(0)))
	eventually(t, time.Minute, "another pod serves", func() error {
		now := pods(t, namespace)
		if len(now) != 1 || now[0].UID == pod.UID {
			return fmt.Errorf("the pods are %s", podNames(t, namespace))
		}
		for _, c := range now[0].Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("pod %s is not ready", now[0].Name)
	})
}

func podNames(t *testing.T, namespace string) string {
	t.Helper()
	var names []string
	for _, p := range pods(t, namespace) {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}

// A certificate from an ACME server, whose status says what clients see; a restart orders no other one.
func TestACertificateFromAnACMEServer(t *testing.T) {
	directory, ca := startACMEInside(t)
	r := newRegistry(t, "acme")
	host := "acme." + r.Namespace + ".svc.cluster.local"
	must(t, kube.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "acme-ca"}, Data: map[string][]byte{"ca.crt": ca}}))
	r.Spec.Hosts = []string{host}
	r.Spec.TLS = v1alpha1.TLSSpec{LetsEncrypt: &v1alpha1.LetsEncryptSpec{Email: "ops@example.com", DirectoryURL: directory, CARef: &v1alpha1.CARef{Name: "acme-ca"}}}
	must(t, kube.Create(t.Context(), r))
	waitReady(t, r)
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), r))
	if c := r.Status.Certificate; c == nil || c.DNSNames[0] != host || !strings.Contains(c.Issuer, "Pebble") {
		t.Fatalf("%+v", c)
	}
	expiry := r.Status.Certificate.NotAfter
	replacePod(t, r.Namespace)
	waitReady(t, r)
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), r))
	if now := r.Status.Certificate.NotAfter; !now.Equal(expiry) {
		t.Errorf("a restart ordered another certificate: %s, was %s", now, expiry)
	}
}

// The API server dies and comes back: registries serve meanwhile, and the operator goes on.
func TestTheAPIServerIsRestarted(t *testing.T) {
	c := connect(t, demoPassword)
	for pid := range residentMiB(t, filepath.Join(os.Getenv("CLUSTER_COMPONENTS"), "kubernetes")+" kube-apiserver") {
		sh(t, "kill", "-9", fmt.Sprint(pid))
	}
	must(t, c.Ping(t.Context())) // nothing of the cluster can have come back yet
	eventually(t, time.Minute, "the API server is back", func() error {
		must(t, c.Ping(t.Context()))
		return kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(demoRegistry()), &v1alpha1.PackRegistry{})
	})
	r := newRegistry(t, "after")
	must(t, kube.Create(t.Context(), r))
	waitReady(t, r)
	must(t, c.Ping(t.Context()))
}

// What keeps a registry from running is reported with its cause.
func TestFailedRolloutsAreTold(t *testing.T) {
	released := currentImages(t).registry // other repositories' images are not allowed
	for name, tt := range map[string]struct {
		edit      func(*v1alpha1.PackRegistrySpec)
		condition string
		words     []string
	}{
		"image": {func(s *v1alpha1.PackRegistrySpec) {
			s.Image = released[:strings.LastIndex(released, ":")] + ":none-such"
		}, v1alpha1.ConditionAvailable, []string{"ImagePull", ":none-such"}},
		"crash": {func(s *v1alpha1.PackRegistrySpec) {
			s.Storage = v1alpha1.StorageSpec{S3: &v1alpha1.S3Spec{Bucket: "nobody", Endpoint: "http://127.0.0.1:1", SecretRef: &v1alpha1.SecretRef{Name: "keys"}}}
		}, v1alpha1.ConditionAvailable, []string{"bucket nobody at http://127.0.0.1:1", "connection refused"}},
		"unschedulable": {func(s *v1alpha1.PackRegistrySpec) {
			s.Pod.NodeSelector = map[string]v1alpha1.LabelValue{"no": "such-node"}
		}, v1alpha1.ConditionAvailable, []string{"cannot be scheduled", "node affinity/selector"}},
		"volume": {func(s *v1alpha1.PackRegistrySpec) {
			s.Storage.PersistentVolumeClaim.StorageClassName = ptr.To("no-such-class")
		}, v1alpha1.ConditionStorageReady, []string{"waits for a volume"}},
		"quota": {func(s *v1alpha1.PackRegistrySpec) {}, v1alpha1.ConditionAvailable, []string{"pods cannot be made", "exceeded quota"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t, name)
			must(t, kube.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "keys"},
				Data: map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("x"), "AWS_SECRET_ACCESS_KEY": []byte("hunter2")}}))
			if name == "quota" {
				must(t, kube.Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "none"},
					Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}}}))
				eventually(t, time.Minute, "the quota is counted", func() error {
					q := &corev1.ResourceQuota{}
					if err := kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: r.Namespace, Name: "none"}, q); err != nil {
						return err
					}
					if len(q.Status.Hard) == 0 {
						return errors.New("not yet")
					}
					return nil
				})
			}
			tt.edit(&r.Spec)
			must(t, kube.Create(t.Context(), r))
			eventually(t, 2*time.Minute, "the cause is reported", func() error {
				now := &v1alpha1.PackRegistry{}
				if err := kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), now); err != nil {
					return err
				}
				c := meta.FindStatusCondition(now.Status.Conditions, tt.condition)
				if c == nil || c.Status == metav1.ConditionTrue {
					return fmt.Errorf("%+v", c)
				}
				for _, w := range tt.words {
					if !strings.Contains(c.Message, w) {
						return fmt.Errorf("the message lacks %q: %s", w, c.Message)
					}
				}
				if strings.Contains(fmt.Sprint(now.Status), "hunter2") {
					t.Error("a secret in the status")
				}
				t.Logf("%s: %s", c.Reason, c.Message)
				return nil
			})
		})
	}
}

// What should go with a PackRegistry goes, and what should stay stays, with no operator there to see to it.
func TestDeletionWithoutTheOperator(t *testing.T) {
	r := newRegistry(t, "orphan")
	must(t, kube.Create(t.Context(), r))
	waitReady(t, r)
	operator := &appsv1.Deployment{}
	key := ctrlclient.ObjectKey{Namespace: operatorNamespace, Name: "packregistry"}
	scale := func(n int32) {
		t.Helper()
		must(t, kube.Get(t.Context(), key, operator))
		must(t, kube.Patch(t.Context(), operator, ctrlclient.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n))))
		eventually(t, 2*time.Minute, fmt.Sprintf("%d operators run", n), func() error {
			if err := kube.Get(t.Context(), key, operator); err != nil {
				return err
			}
			if s := operator.Status; s.ObservedGeneration != operator.Generation || s.Replicas != n || s.ReadyReplicas != n {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	}
	scale(0)
	defer scale(1)
	must(t, kube.Delete(t.Context(), r))
	eventually(t, time.Minute, "the PackRegistry and its pods are gone", func() error {
		if err := kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), &v1alpha1.PackRegistry{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the PackRegistry is there: %w", err)
		}
		if left := pods(t, r.Namespace); len(left) > 0 {
			return fmt.Errorf("%d pods", len(left))
		}
		return nil
	})
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: r.Namespace, Name: "orphan-data"}, &corev1.PersistentVolumeClaim{}))
}

// The local cluster's volumes cannot grow: that is reported, and the registry serves on.
func TestAClaimThatCannotGrow(t *testing.T) {
	r := newRegistry(t, "grow")
	must(t, kube.Create(t.Context(), r))
	waitReady(t, r)
	config := configHash(t, r)
	change(t, r, func(s *v1alpha1.PackRegistrySpec) {
		s.Storage.PersistentVolumeClaim.Size = ptr.To(resource.MustParse("1Gi"))
	})
	eventually(t, time.Minute, "it is reported", func() error {
		if err := kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionStorageReady)
		if c == nil || c.Reason != v1alpha1.ReasonCannotGrow || !strings.Contains(c.Message, "allowVolumeExpansion") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	for _, kind := range []string{v1alpha1.ConditionAvailable, v1alpha1.ConditionReady, v1alpha1.ConditionDegraded} {
		if !meta.IsStatusConditionTrue(r.Status.Conditions, kind) {
			t.Errorf("%s is not true: %+v", kind, r.Status.Conditions)
		}
	}
	if configHash(t, r) != config {
		t.Error("the registry was disturbed")
	}
}
