package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/client"
)

// What hack/demo.sh makes.
const (
	demoNamespace     = "packs-demo"
	operatorNamespace = "packregistry-system"
	leaderLease       = "packregistry" // of the release that the demo installs
	demoPassword      = "change-me"
	clusterState      = "/var/lib/packregistry-cluster"
)

var (
	kube          ctrlclient.Client
	kubectl, helm string
)

func TestMain(m *testing.M) {
	if os.Getenv("PACKREGISTRY_E2E") == "" {
		fmt.Println("skipped: these tests need Linux, root and minutes of building; run them with `make e2e`")
		if os.Getenv("CI") != "" {
			os.Exit(1)
		}
		return
	}
	status, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		status = 1
	}
	os.Exit(status)
}

// runTests brings the demo up, runs the tests on it, and takes it down again unless it was up before.
func runTests(m *testing.M) (status int, err error) {
	if err := os.Chdir("../.."); err != nil {
		return 1, err
	}
	os.Unsetenv("KUBECONFIG")
	components, err := tool("cluster")
	if err != nil {
		return 1, err
	}
	os.Setenv("CLUSTER_COMPONENTS", components)
	helmFolder, err := tool("helm")
	if err != nil {
		return 1, err
	}
	kubectl, helm = filepath.Join(components, "kubectl"), filepath.Join(helmFolder, "helm")
	wasUp := exec.Command("bin/cluster", "kubeconfig").Run() == nil
	if !wasUp {
		defer func() {
			out, downErr := exec.Command("bin/cluster", "down").CombinedOutput()
			if downErr != nil || !strings.Contains(string(out), "nothing is left") {
				err = errors.Join(err, fmt.Errorf("cluster down: %w: %s", downErr, out))
			}
		}()
	}
	demo := exec.Command("hack/demo.sh")
	demo.Stdout, demo.Stderr = os.Stdout, os.Stderr
	if err := demo.Run(); err != nil {
		return 1, fmt.Errorf("the demo: %w", err)
	}
	kubeconfig := filepath.Join(clusterState, "kubeconfig")
	os.Setenv("KUBECONFIG", kubeconfig)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return 1, err
	}
	log.SetLogger(logr.Discard()) // the clients' library asks for one
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return 1, err
	}
	if kube, err = ctrlclient.New(config, ctrlclient.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func tool(name string) (string, error) {
	out, err := exec.Command("hack/tool.sh", name).Output()
	return strings.TrimSpace(string(out)), err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sh runs a command as a person would, outside of the cluster, and returns what it prints. KUBECONFIG is passed to
// kubectl and helm, but not to the demo, which would take it for another cluster's.
func sh(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	if strings.HasSuffix(name, "demo.sh") {
		for _, entry := range os.Environ() {
			if !strings.HasPrefix(entry, "KUBECONFIG=") {
				cmd.Env = append(cmd.Env, entry)
			}
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func eventually(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func pods(t *testing.T, namespace string) []corev1.Pod {
	t.Helper()
	list := &corev1.PodList{}
	must(t, kube.List(t.Context(), list, ctrlclient.InNamespace(namespace)))
	var alive []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			alive = append(alive, p)
		}
	}
	return alive
}

func waitReady(t *testing.T, r *v1alpha1.PackRegistry) {
	t.Helper()
	eventually(t, 2*time.Minute, "PackRegistry "+r.Name+" is ready", func() error {
		now := &v1alpha1.PackRegistry{}
		if err := kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), now); err != nil {
			return err
		}
		c := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || c.Status != "True" || now.Status.ObservedGeneration != now.Generation {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

// server is where the demo's registry is reached from outside of the cluster.
func server() string {
	if port := os.Getenv("HTTPS_PORT"); port != "" && port != "443" {
		return "localhost:" + port
	}
	return "localhost"
}

func connect(t *testing.T, password string) *client.Client {
	t.Helper()
	c, err := client.Connect(client.Server{Host: server(), Username: "admin", Password: password, CAFile: "bin/demo/ca.crt"})
	must(t, err)
	return c
}

// residentMiB finds processes by the beginning of their command line, and what each holds in memory.
func residentMiB(t *testing.T, command string) map[int]float64 {
	t.Helper()
	found := map[int]float64{}
	entries, err := os.ReadDir("/proc")
	must(t, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !strings.HasPrefix(strings.ReplaceAll(string(cmdline), "\x00", " "), command) {
			continue
		}
		status, err := os.ReadFile(filepath.Join("/proc", e.Name(), "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			var kib float64
			if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
				found[pid] = kib / 1024
			}
		}
	}
	if len(found) == 0 {
		t.Errorf("no process %q", command)
	}
	return found
}

// operatorWrites are the writes that the API server's audit log shows for the operator, without those that keep its
// lease and those that ask who reads its metrics.
func operatorWrites(t *testing.T) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(clusterState, "logs", "audit.log"))
	must(t, err)
	defer f.Close()
	var writes []string
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var event struct {
			Verb, RequestURI string
			User             struct{ Username string }
			ObjectRef        struct{ Resource string }
		}
		must(t, json.Unmarshal(scanner.Bytes(), &event))
		if event.User.Username != "system:serviceaccount:"+operatorNamespace+":packregistry" {
			continue
		}
		switch event.ObjectRef.Resource {
		case "leases", "events", "tokenreviews", "subjectaccessreviews":
			continue
		}
		writes = append(writes, event.Verb+" "+event.RequestURI)
	}
	must(t, scanner.Err())
	return writes
}

// settle waits until the operator has written nothing for a while.
func settle(t *testing.T) {
	t.Helper()
	last, since := -1, time.Now()
	eventually(t, time.Minute, "the operator comes to rest", func() error {
		if now := len(operatorWrites(t)); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 4*time.Second {
			return fmt.Errorf("%d writes so far", last)
		}
		return nil
	})
}

// newCertificate is the content of a Secret of type kubernetes.io/tls, for names and addresses.
func newCertificate(t *testing.T, names ...string) map[string][]byte {
	t.Helper()
	var addresses []net.IP
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			addresses = append(addresses, ip)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names, IPAddresses: addresses, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}
}
