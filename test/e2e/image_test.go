package e2e

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// A registry of packs is an OCI registry like any other: the cluster's own containerd pulls an image from it, with a pull
// secret, and runs it.
func TestAPodRunsAnImageOfTheRegistry(t *testing.T) {
	service := &corev1.Service{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: demoNamespace, Name: "packs"}, service))
	host := service.Spec.ClusterIP + ":443"
	work := t.TempDir()
	certificate := newCertificate(t, "packs.example.com", "localhost", service.Spec.ClusterIP)
	ca := filepath.Join(work, "ca.crt")
	must(t, os.WriteFile(ca, certificate[corev1.TLSCertKey], 0o600))
	old := serveCertificate(t, certificate)
	defer serveCertificate(t, old)

	// The node trusts that certificate for that registry.
	trust := filepath.Join(clusterState, "certs.d", host)
	must(t, os.MkdirAll(trust, 0o755))
	t.Cleanup(func() { os.RemoveAll(trust) })
	must(t, os.WriteFile(filepath.Join(trust, "hosts.toml"), fmt.Appendf(nil, "server = %q\n[host.%q]\nca = %q\n", "https://"+host, "https://"+host, ca), 0o600))

	// An image that the node does not have: our own, with a layer of chance on top.
	layer := filepath.Join(work, "layer.tar")
	writeLayer(t, layer, "noise", 5<<20)
	crane := craneFor(t, work, ca)
	crane("push", "bin/images/registry.tar", server()+"/team/base:v1")
	crane("append", "--base", server()+"/team/base:v1", "--new_layer", layer, "--new_tag", server()+"/team/app:v1")

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-image-"}}
	must(t, kube.Create(t.Context(), namespace))
	t.Cleanup(func() {
		if err := kube.Delete(context.WithoutCancel(t.Context()), namespace); err != nil {
			t.Error(err)
		}
	})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "pull", Namespace: namespace.Name}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: dockerConfig(host)}}
	must(t, kube.Create(t.Context(), secret))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace.Name}, Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, ImagePullSecrets: []corev1.LocalObjectReference{{Name: secret.Name}},
		Containers: []corev1.Container{{Name: "app", Image: host + "/team/app:v1", ImagePullPolicy: corev1.PullAlways, Command: []string{"/registry", "version"}}},
	}}
	eventually(t, time.Minute, "pods may be made", func() error { return ctrlclient.IgnoreAlreadyExists(kube.Create(t.Context(), pod.DeepCopy())) })
	eventually(t, 2*time.Minute, "the pod has run", func() error {
		if err := kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("%s %+v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return nil
	})
	if out := sh(t, kubectl, "-n", namespace.Name, "logs", "app"); !strings.HasPrefix(out, "registry ") {
		t.Errorf("it printed %q", out)
	}
	if out := sh(t, kubectl, "-n", namespace.Name, "get", "events"); !strings.Contains(out, "Successfully pulled image \""+host+"/team/app:v1\"") {
		t.Errorf("it was not pulled:\n%s", out)
	}
}

// dockerConfig holds the demo's password for a registry, as Docker's clients keep it.
func dockerConfig(host string) []byte {
	return fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("admin:"+demoPassword)))
}

// craneFor returns crane, logged in at the demo's registry.
func craneFor(t *testing.T, work, ca string) func(args ...string) {
	t.Helper()
	folder, err := tool("crane")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(work, "config.json"), dockerConfig(server()), 0o600))
	return func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(folder, "crane"), args...)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+work, "SSL_CERT_FILE="+ca)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("crane %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// writeLayer makes an archive of one file of bytes that nobody has seen before.
func writeLayer(t *testing.T, path, name string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	w := tar.NewWriter(f)
	must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size}))
	noise := make([]byte, size)
	rand.Read(noise) //nolint:errcheck // never fails
	_, err = w.Write(noise)
	must(t, err)
	must(t, w.Close())
}
