package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/client"
	"packregistry.dev/pack"
)

const demoPack = "examples/packs/hello"

func pushed(t *testing.T, c *client.Client) *client.Pushed {
	t.Helper()
	d, err := pack.OpenDirectory(demoPack)
	must(t, err)
	p, err := c.Push(t.Context(), d, client.Push{})
	must(t, err)
	return p
}

// versions are the resourceVersions of everything in the demo's namespaces that somebody could have written.
func versions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, list := range []ctrlclient.ObjectList{&v1alpha1.PackRegistryList{}, &appsv1.DeploymentList{}, &corev1.ServiceList{},
		&corev1.SecretList{}, &corev1.PersistentVolumeClaimList{}, &corev1.PodList{}} {
		for _, namespace := range []string{demoNamespace, operatorNamespace} {
			must(t, kube.List(t.Context(), list, ctrlclient.InNamespace(namespace)))
			must(t, meta.EachListItem(list, func(o runtime.Object) error {
				object := o.(ctrlclient.Object)
				all[fmt.Sprintf("%T %s/%s", o, namespace, object.GetName())] = object.GetResourceVersion()
				return nil
			}))
		}
	}
	return all
}

func wantDemoPack(t *testing.T) {
	t.Helper()
	wantPack(t, connect(t, demoPassword))
}

// wantPack pulls the demo's pack and compares it with what was pushed.
func wantPack(t *testing.T, c *client.Client) {
	t.Helper()
	pulled, err := c.Pull(t.Context(), "hello", "1.0.0", t.TempDir())
	must(t, err)
	want, err1 := os.ReadFile(filepath.Join(demoPack, "charts/hello-1.0.0.tgz"))
	got, err2 := os.ReadFile(filepath.Join(pulled.Path, "charts/hello-1.0.0.tgz"))
	if err := errors.Join(err1, err2); err != nil || string(got) != string(want) {
		t.Errorf("the pack is not what it was: %d bytes, %v", len(got), err)
	}
}

func demoRegistry() *v1alpha1.PackRegistry {
	return &v1alpha1.PackRegistry{ObjectMeta: metav1.ObjectMeta{Namespace: demoNamespace, Name: "packs"}}
}

// newRegistryIn is a PackRegistry on a claim, with users and a certificate of its own.
func newRegistryIn(namespace, name string) *v1alpha1.PackRegistry {
	size := resource.MustParse("100Mi")
	return &v1alpha1.PackRegistry{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.PackRegistrySpec{
		Storage: v1alpha1.StorageSpec{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaimSpec{Size: &size}},
		Auth:    v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
		TLS:     v1alpha1.TLSSpec{SecretRef: &v1alpha1.SecretRef{Name: "certificate"}},
	}}
}

func newRegistry(t *testing.T, name string) *v1alpha1.PackRegistry {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-" + name + "-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	must(t, kube.Create(t.Context(), namespace))
	t.Cleanup(func() {
		if err := kube.Delete(context.WithoutCancel(t.Context()), namespace); err != nil {
			t.Error(err)
		}
	})
	must(t, kube.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "users"},
		Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": []byte("ann"), "password": []byte("secret")}}))
	must(t, kube.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "certificate"},
		Type: corev1.SecretTypeTLS, Data: newCertificate(t, name+"."+namespace.Name+".svc")}))
	return newRegistryIn(namespace.Name, name)
}
