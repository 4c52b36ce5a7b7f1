package chart

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/testserver"
)

// startAPI starts a real API server with the namespaces that the chart's objects go to.
func startAPI(t *testing.T, namespaces ...string) client.Client {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		testserver.Missing(t, "needs a real API server: run `make test`, or set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd")
	}
	env := &envtest.Environment{}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range namespaces {
		if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	return client.WithFieldValidation(c, metav1.FieldValidationStrict)
}

// dryRun sends what was rendered to the API server, which says what it would refuse and which fields it does not know, and
// returns the kinds. What is in taken was sent before.
func dryRun(t *testing.T, api client.Client, taken map[string]bool, rendered string) map[string]int {
	t.Helper()
	kinds := map[string]int{}
	for document := range strings.SplitSeq("\n"+rendered, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
			t.Errorf("%v\n%s", err, document)
			continue
		}
		if len(object.Object) == 0 {
			continue
		}
		kinds[object.GetKind()]++
		if object.GroupVersionKind().Group == "monitoring.coreos.com" || taken[document] {
			continue // the group's kinds are not ours to install
		}
		err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("helm"), client.DryRunAll)
		if err != nil {
			t.Errorf("%s %s: %v\n%s", object.GetKind(), object.GetName(), err, document)
		}
		taken[document] = err == nil
	}
	return kinds
}

// leaves are the paths of a chart's values that have no others below them.
func leaves(values map[string]any, path string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if below, ok := values[name].(map[string]any); ok && len(below) > 0 {
			list = append(list, leaves(below, path+name+".")...)
			continue
		}
		list = append(list, path+name)
	}
	return list
}

func readValues(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// An API server takes what the chart renders: as it is, with every value set, for all namespaces and for some, with every value
// null, and with each one null by itself.
func TestAPIServerTakesIt(t *testing.T) {
	all := filepath.Join("testdata", "every-value.yaml")
	set, paths := readValues(t, all), leaves(readValues(t, chartFolder+"/values.yaml"), "")
	for _, path := range paths {
		if value, found, err := unstructured.NestedFieldNoCopy(set, strings.Split(path, ".")...); err != nil || !found || value == nil {
			t.Errorf("%s does not set %s", all, path)
		}
	}
	taken := map[string]bool{}
	api := startAPI(t, "packregistry-system", "team-a", "team-b")
	var nulls []string
	for _, path := range paths {
		if path != "image.repository" && path != "registryImage.repository" { // without one there is nothing to run
			nulls = append(nulls, path+"=null")
		}
	}
	everything := []string{"ClusterRole", "CustomResourceDefinition", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Role", "Service", "ServiceAccount", "ServiceMonitor"}
	for _, tt := range []struct {
		name  string
		args  []string
		kinds []string
	}{
		{"defaults", nil, []string{"ClusterRole", "CustomResourceDefinition", "Deployment", "Service"}},
		{"every value", []string{"-f", all, "--set", "watchNamespaces=null"}, everything},
		{"every value, some namespaces", []string{"-f", all, "--set", "metrics.secure=false"}, slices.DeleteFunc(slices.Clone(everything), func(k string) bool { return k == "ClusterRole" })},
		{"every value null", []string{"--set", strings.Join(nulls, ",")}, []string{"Deployment"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := helmTemplate(t, "packregistry", chartFolder, tt.args...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			got := dryRun(t, api, taken, out)
			for _, kind := range tt.kinds {
				if got[kind] == 0 {
					t.Errorf("there is no %s: %v", kind, got)
				}
			}
		})
	}
	for _, null := range nulls {
		if null == "extraVolumes=null" {
			null += ",extraVolumeMounts=null" // a mount needs its volume
		}
		t.Run(null, func(t *testing.T) {
			out, err := helmTemplate(t, "packregistry", chartFolder, "-f", all, "--set", "watchNamespaces=null,"+null)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			dryRun(t, api, taken, out)
		})
	}
}
