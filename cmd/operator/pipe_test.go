package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMain lets the tests run the operator as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_OPERATOR_RUN") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// kinds are those that the operator asks for.
var kinds = map[string][]metav1.APIResource{
	"v1": {{Name: "pods", Kind: "Pod"}, {Name: "services", Kind: "Service"}, {Name: "secrets", Kind: "Secret"}, {Name: "configmaps", Kind: "ConfigMap"},
		{Name: "persistentvolumeclaims", Kind: "PersistentVolumeClaim"}, {Name: "serviceaccounts", Kind: "ServiceAccount"}, {Name: "namespaces", Kind: "Namespace"}},
	"apps/v1":                   {{Name: "deployments", Kind: "Deployment"}, {Name: "replicasets", Kind: "ReplicaSet"}},
	"policy/v1":                 {{Name: "poddisruptionbudgets", Kind: "PodDisruptionBudget"}},
	"networking.k8s.io/v1":      {{Name: "ingresses", Kind: "Ingress"}, {Name: "networkpolicies", Kind: "NetworkPolicy"}},
	"coordination.k8s.io/v1":    {{Name: "leases", Kind: "Lease"}},
	"storage.k8s.io/v1":         {{Name: "storageclasses", Kind: "StorageClass"}},
	"packregistry.dev/v1alpha1": {{Name: "packregistries", Kind: "PackRegistry"}},
}

// discovery answers what kinds there are; nil to any other question.
func discovery(path string) any {
	switch path {
	case "/api":
		return metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions", APIVersion: "v1"}, Versions: []string{"v1"}}
	case "/apis":
		list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for version := range kinds {
			if group, v, ok := strings.Cut(version, "/"); ok {
				preferred := metav1.GroupVersionForDiscovery{GroupVersion: version, Version: v}
				list.Groups = append(list.Groups, metav1.APIGroup{Name: group, Versions: []metav1.GroupVersionForDiscovery{preferred}, PreferredVersion: preferred})
			}
		}
		return list
	}
	version := strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/")
	resources, ok := kinds[version]
	if !ok {
		return nil
	}
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: version}
	for _, r := range resources {
		r.Namespaced = r.Kind != "Namespace" && r.Kind != "StorageClass"
		r.Verbs = metav1.Verbs{"get", "list", "watch"}
		list.APIResources = append(list.APIResources, r)
	}
	return list
}

// startWithoutCaches runs the operator with an API server that lists nothing. asked gets each attempt to list PackRegistries, and
// done how the process ended.
func startWithoutCaches(t *testing.T, output *os.File) (process *os.Process, asked chan struct{}, done chan error) {
	t.Helper()
	// An API server that has kinds and refuses everything else makes the operator log each failed list.
	asked = make(chan struct{}, 1000)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/packregistries") {
			asked <- struct{}{}
		}
		if answer := discovery(r.URL.Path); answer != nil {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(answer) //nolint:errcheck // a test
			return
		}
		http.Error(w, "not now", http.StatusInternalServerError)
	}))
	t.Cleanup(api.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n" +
		"clusters: [{name: c, cluster: {server: '" + api.URL + "'}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "--metrics-bind-address=0", "--health-probe-bind-address=0", "--leader-elect-namespace=default")
	cmd.Env = append(os.Environ(), "TEST_OPERATOR_RUN=1", "KUBECONFIG="+kubeconfig)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done = make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return cmd.Process, asked, done
}

// An operator that gets SIGTERM ends, also where it never had what it needs to begin.
func TestItEndsWithoutCaches(t *testing.T) {
	process, asked, done := startWithoutCaches(t, nil)
	select {
	case <-asked:
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("it asks for nothing")
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		process.Kill() //nolint:errcheck // it is a failure anyway
		t.Fatal("it goes on")
	}
}

// The reader of the log goes away, as when journald restarts: the operator goes on.
func TestTheLogsReaderGoesAway(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	process, asked, done := startWithoutCaches(t, writer)
	writer.Close()
	if _, err := reader.Read(make([]byte, 1)); err != nil {
		t.Fatalf("nothing was logged: %v", err)
	}
	reader.Close()
	for attempts := 0; attempts < 3; { // after each of them it logs why it failed
		select {
		case <-asked:
			attempts++
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		case <-time.After(time.Minute):
			t.Fatalf("no more than %d attempts", attempts)
		}
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-done
}
