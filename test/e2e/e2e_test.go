// Package e2e tries the whole product on a real cluster: the demo's path, and what happens to a registry's users,
// certificate, pods and operator afterwards. `make e2e` builds what it needs and runs it.
package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
)

func TestASecondDemoChangesNothing(t *testing.T) {
	settle(t) // the first one may have upgraded the operator, which then rolls its registries
	waitReady(t, demoRegistry())
	eventually(t, time.Minute, "the first one's pods are woken", func() error {
		for _, p := range pods(t, demoNamespace) {
			if p.Annotations["packregistry.dev/secrets"] == "" {
				return fmt.Errorf("pod %s is not", p.Name)
			}
		}
		return nil
	})
	before, started := versions(t), time.Now()
	out := sh(t, "hack/demo.sh")
	t.Logf("took %s", time.Since(started).Round(time.Millisecond))
	if after := versions(t); !maps.Equal(before, after) {
		t.Errorf("objects were written:\n%v\n%v", before, after)
	}
	for _, words := range []string{"runs already", "is installed already", "unchanged hello:1.0.0", "byte for byte"} {
		if !strings.Contains(out, words) {
			t.Errorf("it does not say %q:\n%s", words, out)
		}
	}
}

func TestAppliedSampleHasNoDiff(t *testing.T) {
	sh(t, "bash", "-c", kubectl+" kustomize config/samples | "+kubectl+" -n "+demoNamespace+" diff --server-side -f -")
}

func TestReadyWithinTenSeconds(t *testing.T) {
	r := newRegistry(t, "swift")
	started := time.Now()
	must(t, kube.Create(t.Context(), r))
	waitReady(t, r)
	took := time.Since(started)
	t.Logf("from apply to Ready=True: %s", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestPodsAreRestrictedAndSmall(t *testing.T) {
	for _, namespace := range []string{demoNamespace, operatorNamespace} {
		// The API server itself validates what runs there.
		out := sh(t, kubectl, "label", "--dry-run=server", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
		if strings.Contains(out, "existing pods") {
			t.Errorf("not restricted: %s", out)
		}
		for _, p := range pods(t, namespace) {
			c := p.Spec.Containers[0]
			if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
				t.Errorf("pod %s can write its root file system", p.Name)
			}
		}
	}
	for name, limit := range map[string]int{"/registry serve /etc/packregistry/config.yml": 32, "/operator --leader-elect": 48} {
		for pid, mib := range residentMiB(t, name) {
			t.Logf("%s (pid %d): %.1f MiB", name, pid, mib)
			if mib > float64(limit) {
				t.Errorf("%s uses %.1f MiB, more than %d", name, mib, limit)
			}
		}
	}
	for image, limit := range map[string]int64{"registry": 30, "operator": 60} {
		info, err := os.Stat("bin/images/" + image + ".tar")
		must(t, err)
		t.Logf("image %s: %.1f MB", image, float64(info.Size())/1e6)
		if info.Size() > limit*1_000_000 {
			t.Errorf("image %s is larger than %d MB", image, limit)
		}
	}
}

// identity tells whether the same containers still run.
func identity(t *testing.T, namespace string) string {
	t.Helper()
	var ids []string
	for _, p := range pods(t, namespace) {
		ids = append(ids, fmt.Sprint(p.UID, p.Status.ContainerStatuses[0].ContainerID, p.Status.ContainerStatuses[0].RestartCount))
	}
	return strings.Join(ids, " ")
}

func TestUsersChangeWithoutARestart(t *testing.T) {
	before := identity(t, demoNamespace)
	change := func(password string) time.Duration {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), 10)
		must(t, err)
		secret := &corev1.Secret{}
		must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: demoNamespace, Name: "packs-users"}, secret))
		secret.Data["htpasswd"] = []byte("admin:" + string(hash) + "\n")
		must(t, kube.Update(t.Context(), secret))
		started := time.Now()
		eventually(t, 2*time.Minute, "the new password works", func() error { return connect(t, password).Ping(t.Context()) })
		return time.Since(started)
	}
	t.Logf("in effect after %s", change("another").Round(time.Millisecond))
	if err := connect(t, demoPassword).Ping(t.Context()); err == nil {
		t.Error("the old password still works")
	}
	t.Logf("and back after %s", change(demoPassword).Round(time.Millisecond))
	if after := identity(t, demoNamespace); after != before {
		t.Errorf("the pod was restarted: %s, was %s", after, before)
	}
}

// serveCertificate waits until the demo's registry serves a certificate, which is put into its Secret, and returns the one before.
func serveCertificate(t *testing.T, certificate map[string][]byte) (before map[string][]byte) {
	t.Helper()
	secret := &corev1.Secret{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: demoNamespace, Name: "packs-tls"}, secret))
	before, secret.Data = secret.Data, certificate
	must(t, kube.Update(t.Context(), secret))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate[corev1.TLSCertKey])
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	eventually(t, 2*time.Minute, "the certificate is served", func() error {
		response, err := h.Get("https://" + server() + "/health")
		if err == nil {
			response.Body.Close()
		}
		return err
	})
	return before
}

func TestTheCertificateChangesWithoutARestart(t *testing.T) {
	before := identity(t, demoNamespace)
	started := time.Now()
	old := serveCertificate(t, newCertificate(t, "packs.example.com", "localhost"))
	t.Logf("in effect after %s", time.Since(started).Round(time.Millisecond))
	if after := identity(t, demoNamespace); after != before {
		t.Errorf("the pod was restarted: %s, was %s", after, before)
	}
	serveCertificate(t, old)
}

func TestADeletedDeploymentComesBack(t *testing.T) {
	d := &appsv1.Deployment{}
	key := ctrlclient.ObjectKey{Namespace: demoNamespace, Name: "packs"}
	must(t, kube.Get(t.Context(), key, d))
	must(t, kube.Delete(t.Context(), d, ctrlclient.PropagationPolicy(metav1.DeletePropagationForeground)))
	eventually(t, time.Minute, "another Deployment is there", func() error {
		now := &appsv1.Deployment{}
		if err := kube.Get(t.Context(), key, now); err != nil || now.UID == d.UID {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	waitReady(t, demoRegistry())
	eventually(t, time.Minute, "it serves", func() error { return connect(t, demoPassword).Ping(t.Context()) })
	wantDemoPack(t)
}

func TestPacksOutliveTheirPod(t *testing.T) {
	c := connect(t, demoPassword)
	p := pushed(t, c)
	for pid := range residentMiB(t, "/registry serve /etc/packregistry/config.yml") {
		sh(t, "kill", "-9", fmt.Sprint(pid)) // every registry of the cluster, with no warning
	}
	replacePod(t, demoNamespace)
	waitReady(t, demoRegistry())
	eventually(t, time.Minute, "it serves", func() error { return connect(t, demoPassword).Ping(t.Context()) })
	wantDemoPack(t)
	if again := pushed(t, connect(t, demoPassword)); !again.Unchanged || again.Digest != p.Digest {
		t.Errorf("the version is %+v, was %+v", again, p)
	}
}

func TestARestartedOperatorWritesNothing(t *testing.T) {
	waitReady(t, demoRegistry())
	settle(t)
	before := operatorWrites(t)
	old := pods(t, operatorNamespace)[0]
	must(t, kube.Delete(t.Context(), &old))
	eventually(t, 2*time.Minute, "another operator leads and has looked at everything", func() error {
		for _, p := range pods(t, operatorNamespace) {
			if p.UID == old.UID {
				continue
			}
			log, err := exec.CommandContext(t.Context(), kubectl, "-n", operatorNamespace, "logs", p.Name).CombinedOutput()
			if err == nil && strings.Contains(string(log), "Starting workers") {
				return nil
			}
		}
		return errors.New("not yet")
	})
	settle(t)
	after := operatorWrites(t)
	if len(after) != len(before) {
		t.Errorf("it wrote:\n%s", strings.Join(after[len(before):], "\n"))
	}
	// The count is one that can be other than zero: a change is seen in it.
	if len(before) == 0 {
		t.Error("the audit log shows no write of the operator at all: the test would not notice any")
	}
}

func TestDeletionKeepsTheClaimAndAnotherRegistryFindsIt(t *testing.T) {
	r := newRegistry(t, "kept")
	must(t, kube.Create(t.Context(), r))
	waitReady(t, r)
	claim := &corev1.PersistentVolumeClaim{}
	key := ctrlclient.ObjectKey{Namespace: r.Namespace, Name: r.Name + "-data"}
	must(t, kube.Get(t.Context(), key, claim))
	must(t, kube.Delete(t.Context(), r.DeepCopy()))
	eventually(t, time.Minute, "the Deployment goes with its PackRegistry", func() error {
		err := kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), &appsv1.Deployment{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there: %w", err)
		}
		return nil
	})
	again := newRegistryIn(r.Namespace, "kept")
	must(t, kube.Create(t.Context(), again))
	waitReady(t, again)
	now := &corev1.PersistentVolumeClaim{}
	must(t, kube.Get(t.Context(), key, now))
	if now.UID != claim.UID {
		t.Error("the claim was not kept")
	}
}

func TestKustomizeInstallsTheSame(t *testing.T) {
	sh(t, kubectl, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "config/crd/packregistry.dev_packregistries.yaml")
	out := sh(t, "bash", "-c", kubectl+" kustomize config/default | "+kubectl+" apply --server-side --force-conflicts --dry-run=server -f -")
	for _, kind := range []string{"customresourcedefinition", "deployment.apps/packregistry-operator", "clusterrole"} {
		if !strings.Contains(out, kind) {
			t.Errorf("config/default lacks %s:\n%s", kind, out)
		}
	}
}

func TestMetricsOfTheOperatorAskForPermission(t *testing.T) {
	service := &corev1.Service{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: operatorNamespace, Name: "packregistry-metrics"}, service))
	url := fmt.Sprintf("https://%s:8443/metrics", service.Spec.ClusterIP)
	status := func(headers string) string {
		cmd := exec.CommandContext(t.Context(), "bin/cluster", "exec", "--", "curl", "-sk", "--noproxy", "*", "-H", "@-", "-o", "bin/test/metrics", "-w", "%{http_code}", url)
		cmd.Stdin = strings.NewReader(headers)
		out, err := cmd.Output()
		must(t, err)
		return string(out)
	}
	if got := status("X: y"); got != "401" {
		t.Errorf("without a token: %s", got)
	}
	sh(t, "bash", "-c", kubectl+" create clusterrolebinding e2e-metrics --clusterrole=packregistry-metrics-reader --serviceaccount="+operatorNamespace+":default --dry-run=client -o yaml | "+kubectl+" apply -f -")
	defer sh(t, kubectl, "delete", "clusterrolebinding", "e2e-metrics")
	token := strings.TrimSpace(sh(t, kubectl, "-n", operatorNamespace, "create", "token", "default"))
	if got := status("Authorization: Bearer " + token); got != "200" {
		t.Fatalf("with a token: %s", got)
	}
	text, err := os.ReadFile("bin/test/metrics")
	must(t, err)
	if ready := `packregistry_ready{name="packs",namespace="` + demoNamespace + `"} 1`; !strings.Contains(string(text), ready) {
		t.Errorf("the metrics lack %s", ready)
	}
	if !strings.Contains(string(text), "controller_runtime_reconcile_total") {
		t.Error("the metrics lack the reconciles")
	}
}

func TestHelmUninstallKeepsEverything(t *testing.T) {
	sh(t, helm, "uninstall", "packregistry", "-n", operatorNamespace, "--wait")
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(demoRegistry()), &v1alpha1.PackRegistry{}))
	must(t, connect(t, demoPassword).Ping(t.Context()))
	wantDemoPack(t)
	out := sh(t, "hack/demo.sh")
	if !strings.Contains(out, "unchanged hello:1.0.0") {
		t.Errorf("the pack was lost:\n%s", out)
	}
}

// A cluster that is somebody's own, and has no load balancer: the demo's other way. It ends where it began.
func TestDemoWithKubeconfig(t *testing.T) {
	// Under another name: by its own the demo would know it for the local cluster's.
	text, err := os.ReadFile(os.Getenv("KUBECONFIG"))
	must(t, err)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(kubeconfig, text, 0o600))
	cmd := exec.CommandContext(t.Context(), "hack/demo.sh")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "IMAGES_LOADED=1", "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "byte for byte") || !strings.Contains(string(out), "https://localhost:8443/v1/_catalog") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out := sh(t, "hack/demo.sh"); !strings.Contains(out, "byte for byte") {
		t.Error(out)
	}
	eventually(t, time.Minute, "it serves at the load balancer again", func() error { return connect(t, demoPassword).Ping(t.Context()) })
}
