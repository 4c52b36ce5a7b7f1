package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// images are the names of the operator's and the registry's image.
type images struct{ operator, registry string }

func currentImages(t *testing.T) images {
	t.Helper()
	return images{imageName(t, "bin/images/operator.tar"), imageName(t, "bin/images/registry.tar")}
}

func imageName(t *testing.T, archive string) string {
	t.Helper()
	name, err := os.ReadFile(archive + ".name")
	must(t, err)
	return strings.TrimSpace(string(name))
}

// earlierImages builds both images as another version, and loads them.
func earlierImages(t *testing.T) images {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"operator", "registry"} {
		sh(t, "bin/image", "build", "--target", name, "--version", "0.0.1", "--tag", "packregistry.dev/"+name+":{digest}", "--output", folder+"/"+name+".tar")
		sh(t, "bin/cluster", "load", folder+"/"+name+".tar")
	}
	return images{imageName(t, folder+"/operator.tar"), imageName(t, folder+"/registry.tar")}
}

// upgrade installs a release of the chart, or makes another of it.
func upgrade(t *testing.T, release, namespace string, of images, more ...string) {
	t.Helper()
	operator, registry := strings.Split(of.operator, ":"), strings.Split(of.registry, ":")
	sh(t, helm, append([]string{"upgrade", "--install", release, "charts/packregistry-operator", "-n", namespace, "--create-namespace", "--wait", "--timeout", "2m",
		"--set", "image.repository=" + operator[0] + ",image.tag=" + operator[1], "--set", "registryImage.repository=" + registry[0] + ",registryImage.tag=" + registry[1]}, more...)...)
}

// installTeam narrows the demo's operator to its own namespace and installs a second one that looks after another, each with
// Roles only; afterwards all is as before.
func installTeam(t *testing.T, of images, watched string) (serviceAccount string) {
	t.Helper()
	const release, namespace = "team-packregistry", "e2e-team-system"
	upgrade(t, "packregistry", operatorNamespace, currentImages(t), "--set", "watchNamespaces={"+demoNamespace+"}")
	t.Cleanup(func() {
		cleaned, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
		defer cancel()
		for _, args := range [][]string{
			{helm, "uninstall", release, "-n", namespace, "--wait"},
			{kubectl, "delete", "namespace", namespace},
			{helm, "uninstall", "packregistry", "-n", operatorNamespace, "--wait"},
		} {
			if out, err := exec.CommandContext(cleaned, args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%v: %v: %s", args, err, out)
			}
		}
		demo := exec.CommandContext(cleaned, "hack/demo.sh") // installs it as it was
		for _, entry := range os.Environ() {
			if !strings.HasPrefix(entry, "KUBECONFIG=") {
				demo.Env = append(demo.Env, entry)
			}
		}
		if out, err := demo.CombinedOutput(); err != nil {
			t.Errorf("demo: %v: %s", err, out)
		}
	})
	upgrade(t, release, namespace, of, "--set", "watchNamespaces={"+watched+"}", "--set", "crd.enabled=false")
	return "system:serviceaccount:" + namespace + ":" + release
}

// Two installs beside each other, each with rights in its own namespace only.
func TestNamespacedInstalls(t *testing.T) {
	mine, others := newRegistry(t, "mine"), newRegistry(t, "others")
	account := installTeam(t, currentImages(t), mine.Namespace)
	must(t, kube.Create(t.Context(), mine))
	must(t, kube.Create(t.Context(), others))
	waitReady(t, mine)
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(others), others))
	if others.Status.ObservedGeneration != -1 || len(others.Status.Conditions) > 0 {
		t.Errorf("somebody looked after a namespace that is nobody's: %+v", others.Status)
	}
	for _, denied := range [][]string{
		{"get", "secrets", "-n", others.Namespace}, {"get", "secrets", "--all-namespaces"}, {"get", "secret", "users", "-n", demoNamespace},
		{"get", "packregistries", "--all-namespaces"}, {"get", "storageclasses"}, {"get", "nodes"}, {"get", "namespaces"},
		{"create", "deployment", "x", "--image=x", "-n", others.Namespace}, {"create", "deployment", "x", "--image=x", "-n", demoNamespace},
		{"delete", "pods", "--all", "-n", mine.Namespace}, {"create", "role", "x", "--verb=get", "--resource=pods", "-n", mine.Namespace},
		{"delete", "pvc", "--all", "-n", mine.Namespace}, {"delete", "packregistry", "mine", "-n", mine.Namespace},
	} {
		out, err := exec.CommandContext(t.Context(), kubectl, append([]string{"--as", account}, denied...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "forbidden") {
			t.Errorf("%v as the operator: %v: %s", denied, err, out)
		}
	}
	sh(t, kubectl, "--as", account, "get", "secrets", "-n", mine.Namespace)
	must(t, kube.Delete(t.Context(), mine))
}

// The operator becomes another: where registries stay the same, nothing is restarted; where their image is another, they are
// rolled by turns, and one of two replicas under load fails no request.
func TestUpgradeOfTenRegistriesUnderLoad(t *testing.T) {
	old, now := earlierImages(t), currentImages(t)
	loaded, _, _ := unmade(t, "loaded", 2)
	namespace := loaded.Namespace
	installTeam(t, old, namespace)
	registries := []*v1alpha1.PackRegistry{loaded}
	for i := range 9 {
		r := newRegistryIn(namespace, fmt.Sprintf("r%d", i))
		r.Spec.Storage = v1alpha1.StorageSpec{InMemory: &v1alpha1.InMemorySpec{}}
		r.Spec.TLS = v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}}
		registries = append(registries, r)
	}
	for _, r := range registries {
		must(t, kube.Create(t.Context(), r))
	}
	for _, r := range registries {
		waitReady(t, r)
	}
	rolledOut(t, loaded, "")
	before := podNames(t, namespace)

	// Another operator, the same registry.
	upgrade(t, "team-packregistry", "e2e-team-system", images{now.operator, old.registry}, "--set", "watchNamespaces={"+namespace+"}", "--set", "crd.enabled=false")
	eventually(t, time.Minute, "the new operator has seen all", func() error {
		for _, d := range deploymentsOf(t, namespace) {
			if !strings.HasPrefix(d.Annotations[children.AnnotationVersion], "0.1.0") {
				return fmt.Errorf("%s is of %q", d.Name, d.Annotations[children.AnnotationVersion])
			}
		}
		return nil
	})
	if after := podNames(t, namespace); after != before {
		t.Errorf("the operator's own upgrade restarted pods: %s became %s", before, after)
	}

	bundle := &corev1.ConfigMap{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: namespace, Name: children.CAName(loaded)}, bundle))
	l := startLoad(t, clientInside(t, serviceOf(t, namespace, "loaded"), bundle.Data["ca.crt"]), "https://loaded."+namespace+".svc")
	upgrade(t, "team-packregistry", "e2e-team-system", now, "--set", "watchNamespaces={"+namespace+"}", "--set", "crd.enabled=false")
	most, waited := 0, false
	eventually(t, 5*time.Minute, "all registries run the new image", func() error {
		moving, done := 0, 0
		for _, d := range deploymentsOf(t, namespace) {
			s, n := d.Status, *d.Spec.Replicas
			settled := s.ObservedGeneration == d.Generation && s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n
			switch isNew := d.Spec.Template.Spec.Containers[0].Image == now.registry; {
			case isNew && settled:
				done++
			case isNew:
				moving++
			}
		}
		most = max(most, moving)
		list := &v1alpha1.PackRegistryList{}
		must(t, kube.List(t.Context(), list, ctrlclient.InNamespace(namespace)))
		waited = waited || slices.ContainsFunc(list.Items, func(r v1alpha1.PackRegistry) bool {
			return slices.ContainsFunc(r.Status.Conditions, func(c metav1.Condition) bool {
				return c.Type == v1alpha1.ConditionReady && strings.Contains(c.Message, "--max-concurrent-upgrades")
			})
		})
		if done != len(registries) {
			return fmt.Errorf("%d done, %d moving", done, moving)
		}
		return nil
	})
	if most != 1 || !waited {
		t.Errorf("%d were rolled at once; waiting was reported: %t", most, waited)
	}
	l.noneFailed(t, fmt.Sprintf("ten registries were upgraded, %d at a time", most))
}

func deploymentsOf(t *testing.T, namespace string) []appsv1.Deployment {
	t.Helper()
	list := &appsv1.DeploymentList{}
	must(t, kube.List(t.Context(), list, ctrlclient.InNamespace(namespace)))
	return list.Items
}

// A registry's packs come back under another name: on the claim that it left, and in the bucket that it used.
func TestPacksMoveToAnotherRegistry(t *testing.T) {
	first := newRegistry(t, "first")
	ca := certificateFor(t, first, "packs.example.com")
	must(t, kube.Create(t.Context(), first))
	waitReady(t, first)
	address := serviceOf(t, first.Namespace, "first").Spec.ClusterIP + ":443"
	pushAndPull(t, "packs.example.com", address, ca)
	must(t, kube.Delete(t.Context(), first))
	second := newRegistryIn(first.Namespace, "second")
	second.Spec.Storage = v1alpha1.StorageSpec{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaimSpec{ClaimName: "first-data"}}
	must(t, kube.Create(t.Context(), second))
	waitReady(t, second)
	wantHello(t, "packs.example.com", serviceOf(t, first.Namespace, "second").Spec.ClusterIP+":443", ca)

	bucket, keys, endpoint := unmade(t, "bucket", 1)
	bucket.Spec.TLS = v1alpha1.TLSSpec{SecretRef: &v1alpha1.SecretRef{Name: "certificate"}}
	ca = certificateFor(t, bucket, "packs.example.com")
	must(t, kube.Create(t.Context(), bucket))
	waitReady(t, bucket)
	pushAndPull(t, "packs.example.com", serviceOf(t, bucket.Namespace, "bucket").Spec.ClusterIP+":443", ca)
	must(t, kube.Delete(t.Context(), bucket))
	other := newRegistry(t, "other")
	ca = certificateFor(t, other, "packs.example.com")
	must(t, kube.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: other.Namespace, Name: "keys"}, Data: keys}))
	other.Spec.Storage = v1alpha1.StorageSpec{S3: &v1alpha1.S3Spec{Bucket: "packs", Endpoint: endpoint, SecretRef: &v1alpha1.SecretRef{Name: "keys"}}}
	must(t, kube.Create(t.Context(), other))
	waitReady(t, other)
	wantHello(t, "packs.example.com", serviceOf(t, other.Namespace, "other").Spec.ClusterIP+":443", ca)
}
