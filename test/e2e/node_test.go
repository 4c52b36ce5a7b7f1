package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// unmade is a registry of replicas on an S3 server, with a certificate of the operator's own, that is still to be applied.
func unmade(t *testing.T, name string, replicas int32) (r *v1alpha1.PackRegistry, keys map[string][]byte, endpoint string) {
	t.Helper()
	endpoint, keys = startS3Inside(t, "packs")
	r = newRegistry(t, name)
	must(t, kube.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "keys"}, Data: keys}))
	r.Spec.Replicas = ptr.To(replicas)
	r.Spec.Storage = v1alpha1.StorageSpec{S3: &v1alpha1.S3Spec{Bucket: "packs", Endpoint: endpoint, SecretRef: &v1alpha1.SecretRef{Name: "keys"}}}
	r.Spec.TLS = v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}}
	return r, keys, endpoint
}

// onBucket makes such a registry, and returns it with a client that trusts it.
func onBucket(t *testing.T, name string, replicas int32) (*v1alpha1.PackRegistry, *http.Client, string) {
	t.Helper()
	r, _, _ := unmade(t, name, replicas)
	must(t, kube.Create(t.Context(), r))
	waitReady(t, r)
	rolledOut(t, r, "")
	bundle := &corev1.ConfigMap{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: r.Namespace, Name: children.CAName(r)}, bundle))
	return r, clientInside(t, serviceOf(t, r.Namespace, name), bundle.Data["ca.crt"]), "https://" + name + "." + r.Namespace + ".svc"
}

// nodesOf counts a registry's pods by node.
func nodesOf(t *testing.T, r *v1alpha1.PackRegistry) map[string]int {
	t.Helper()
	nodes := map[string]int{}
	for _, p := range pods(t, r.Namespace) {
		nodes[p.Spec.NodeName]++
	}
	return nodes
}

// A second node joins, replicas spread over both, and the second is drained and taken away, without a request that fails.
func TestADrainedNodeFailsNoRequest(t *testing.T) {
	sh(t, "bin/cluster", "join")
	left := false
	t.Cleanup(func() {
		if left {
			return
		}
		if out, err := exec.Command("bin/cluster", "leave").CombinedOutput(); err != nil {
			t.Errorf("leave: %v: %s", err, out)
		}
	})
	r, client, base := onBucket(t, "drained", 3)
	if nodes := nodesOf(t, r); nodes["node-1"] == 0 || nodes["node-2"] == 0 {
		t.Fatalf("the replicas are not spread: %v", nodes)
	}
	l := startLoad(t, client, base)
	sh(t, kubectl, "drain", "node-2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
	rolledOut(t, r, "")
	if nodes := nodesOf(t, r); nodes["node-2"] != 0 || nodes["node-1"] != 3 {
		t.Errorf("after the drain: %v", nodes)
	}
	sh(t, "bin/cluster", "leave")
	left = true
	waitReady(t, r)
	l.noneFailed(t, "a node was drained and taken away")
}

// The operator is killed the moment a child of each kind appears; the next one finishes what it has begun.
func TestTheOperatorIsKilledAtEveryChild(t *testing.T) {
	config, err := clientcmd.BuildConfigFromFlags("", clusterState+"/kubeconfig")
	must(t, err)
	watcher, err := ctrlclient.NewWithWatch(config, ctrlclient.Options{Scheme: kube.Scheme()})
	must(t, err)
	for _, c := range []struct {
		list    ctrlclient.ObjectList
		starts  string // of the child's name, after the registry's
		changes func(*v1alpha1.PackRegistrySpec)
	}{
		{&corev1.PersistentVolumeClaimList{}, "-data", nil},
		{&corev1.SecretList{}, "-registry-users", nil},
		{&corev1.SecretList{}, "-config", nil},
		{&corev1.ServiceList{}, "", nil},
		{&appsv1.DeploymentList{}, "", nil},
		{&corev1.SecretList{}, "-registry-ca", selfSigned},
		{&corev1.ConfigMapList{}, "-registry-ca", selfSigned},
		{&corev1.SecretList{}, "-registry-tls", selfSigned},
	} {
		t.Run(fmt.Sprintf("%T%s", c.list, c.starts), func(t *testing.T) {
			r := newRegistry(t, "killed")
			if c.changes != nil {
				c.changes(&r.Spec)
			}
			events, err := watcher.Watch(t.Context(), c.list, ctrlclient.InNamespace(r.Namespace), ctrlclient.MatchingLabels{children.LabelRegistry: r.Name})
			must(t, err)
			defer events.Stop()
			must(t, kube.Create(t.Context(), r))
			waitForChild(t, events, r.Name+c.starts)
			killOperator(t)
			waitReady(t, r)
			must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), r))
			if r.Status.URL == "" || r.Status.ReadyReplicas != 1 {
				t.Errorf("%+v", r.Status)
			}
		})
	}
}

func selfSigned(s *v1alpha1.PackRegistrySpec) {
	s.TLS = v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}}
}

func waitForChild(t *testing.T, events watch.Interface, name string) {
	t.Helper()
	for {
		select {
		case e := <-events.ResultChan():
			if o, ok := e.Object.(ctrlclient.Object); ok && strings.HasPrefix(o.GetName(), name) {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s never came", name)
		}
	}
}

// killOperator ends the operator's process at once, and lets another begin without the kubelet's and the lease's waits.
func killOperator(t *testing.T) {
	t.Helper()
	processes := residentMiB(t, "/operator")
	if len(processes) == 0 {
		t.Fatal("no operator runs")
	}
	for pid := range processes {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	for _, p := range pods(t, operatorNamespace) {
		must(t, kube.Delete(t.Context(), &p, ctrlclient.GracePeriodSeconds(0)))
	}
	must(t, kube.Delete(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: leaderLease}}))
	eventually(t, time.Minute, "another operator works", func() error {
		return kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: operatorNamespace, Name: leaderLease}, &coordinationv1.Lease{})
	})
}

// clientIdentity is a certificate that a client shows, and what a server must trust to take it.
type clientIdentity struct {
	ca   []byte
	pair []tls.Certificate
}

// newClientCA is a certificate that is its own CA.
func newClientCA(t *testing.T) clientIdentity {
	t.Helper()
	data := newCertificate(t, "client.example.com")
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	must(t, err)
	return clientIdentity{data[corev1.TLSCertKey], []tls.Certificate{pair}}
}

// Who a client must be, in TLS, changes without a restart; and everybody may pull from an anonymous registry.
func TestClientCertificatesAndAnonymousPulls(t *testing.T) {
	r := newRegistry(t, "mutual")
	r.Spec.Storage = v1alpha1.StorageSpec{InMemory: &v1alpha1.InMemorySpec{}}
	r.Spec.Auth = v1alpha1.AuthSpec{Anonymous: &v1alpha1.AnonymousSpec{}}
	host := r.Name + "." + r.Namespace + ".svc"
	first, second := newClientCA(t), newClientCA(t)
	ca := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "clients"}, Data: map[string][]byte{"ca.crt": first.ca}}
	must(t, kube.Create(t.Context(), ca))
	r.Spec.TLS.ClientCARef = &v1alpha1.CARef{Name: "clients"}
	must(t, kube.Create(t.Context(), r))
	waitReady(t, r)
	if err := kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), &policyv1.PodDisruptionBudget{}); err == nil {
		t.Error("one replica has a PodDisruptionBudget")
	}
	before := identity(t, r.Namespace)
	server := &corev1.Secret{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: r.Namespace, Name: "certificate"}, server))
	ask := func(identity clientIdentity) error {
		client := clientInside(t, serviceOf(t, r.Namespace, r.Name), string(server.Data["tls.crt"]))
		client.Transport.(*http.Transport).TLSClientConfig.Certificates = identity.pair
		for path, want := range map[string]int{"/v2/": 200, "/v2/x/blobs/uploads/": 401} {
			method := http.MethodGet
			if want != 200 {
				method = http.MethodPost
			}
			q, err := http.NewRequestWithContext(t.Context(), method, "https://"+host+path, nil)
			must(t, err)
			response, err := client.Do(q)
			if err != nil {
				return err
			}
			response.Body.Close()
			if response.StatusCode != want && (want == 200 || response.StatusCode < 401 || response.StatusCode > 403) {
				return fmt.Errorf("%s %s: %s", method, path, response.Status)
			}
		}
		return nil
	}
	eventually(t, 10*time.Second, "the Service leads there", func() error { return ask(first) })
	if ask(second) == nil || ask(clientIdentity{}) == nil {
		t.Error("a client without the right certificate was let in")
	}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(ca), ca))
	ca.Data["ca.crt"] = second.ca
	must(t, kube.Update(t.Context(), ca))
	began := time.Now()
	eventually(t, 10*time.Second, "the new CA counts, and the old one does not", func() error {
		if err := ask(second); err != nil {
			return err
		}
		if ask(first) == nil {
			return errors.New("the old one still does")
		}
		return nil
	})
	t.Logf("new client CA in effect after %s", time.Since(began).Round(time.Millisecond))
	if after := identity(t, r.Namespace); after != before {
		t.Errorf("%s became %s", before, after)
	}
}
