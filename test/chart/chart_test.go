// Package chart tests what the Helm chart renders: above all, which rights it asks for.
package chart

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/testserver"
)

var update = flag.Bool("update", false, "write the golden files anew")

// render runs helm template and returns the objects of some kinds, as one text.
func render(t *testing.T, kinds []string, args ...string) string {
	t.Helper()
	helm := filepath.Join(testserver.Tool(t, "helm"), "helm")
	cmd := exec.CommandContext(t.Context(), helm, append([]string{"template", "packregistry", "../../charts/packregistry-operator", "--namespace", "packregistry-system"}, args...)...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	var wanted []string
	for document := range strings.SplitSeq("\n"+string(out), "\n---\n") {
		var o struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if slices.Contains(kinds, o.Kind) {
			wanted = append(wanted, strings.TrimSpace(document)+"\n")
		}
	}
	return strings.Join(wanted, "---\n")
}

var rights = []string{"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount"}

func TestRights(t *testing.T) {
	for name, args := range map[string][]string{
		"rights-cluster":    nil,
		"rights-namespaces": {"--set", "watchNamespaces={team-a,team-b}", "--set", "metrics.secure=false"},
	} {
		t.Run(name, func(t *testing.T) {
			got := render(t, rights, args...)
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs; look at it, and write it anew with: go test ./test/chart -update\n%s", file, got)
			}
		})
	}
}

func TestANamespacedInstallHasNoClusterWideRights(t *testing.T) {
	for _, secure := range []string{"true", "false"} {
		got := render(t, []string{"ClusterRole", "ClusterRoleBinding"}, "--set", "watchNamespaces={team-a}", "--set", "metrics.secure="+secure)
		if got != "" {
			t.Errorf("metrics.secure=%s:\n%s", secure, got)
		}
	}
}

func TestTheOperatorsNetworkPolicy(t *testing.T) {
	if got := render(t, []string{"NetworkPolicy"}); got != "" {
		t.Errorf("unasked for:\n%s", got)
	}
	got := render(t, []string{"NetworkPolicy"}, "--set", "networkPolicy.enabled=true")
	for _, words := range []string{"port: probes", "port: metrics", "app.kubernetes.io/name: packregistry-operator"} {
		if !strings.Contains(got, words) {
			t.Errorf("it lacks %q:\n%s", words, got)
		}
	}
}

// The operator before an upgrade may hold a Lease of another name, as after a change of watchNamespaces: it has to be stopped
// before its successor starts.
func TestAnUpgradeStopsTheOldVersionFirst(t *testing.T) {
	got := render(t, []string{"Deployment"})
	var deployment struct {
		Spec struct {
			Strategy map[string]any `json:"strategy"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(got), &deployment); err != nil {
		t.Fatal(err)
	}
	if rolling, _ := deployment.Spec.Strategy["rollingUpdate"].(map[string]any); rolling["maxSurge"] != 0.0 || rolling["maxUnavailable"] != "100%" {
		t.Errorf("strategy: %v", deployment.Spec.Strategy)
	}
}

// What tenants may ask for goes to the operator as it is in the values, which are refused where the operator would refuse them.
func TestLimits(t *testing.T) {
	args := func(set ...string) string {
		return strings.ReplaceAll(render(t, []string{"Deployment"}, set...), `"`, "")
	}
	got := args()
	for _, words := range []string{`- --allowed-annotations=default`, `- --allowed-labels=default`, `- --allowed-env=default`, `- --allowed-pod-fields=default`} {
		if !strings.Contains(got, words) {
			t.Errorf("it lacks %q:\n%s", words, got)
		}
	}
	if strings.Contains(got, "--allowed-images") || strings.Contains(got, "--hosts-annotation") {
		t.Errorf("unasked for:\n%s", got)
	}
	got = args("--set", "limits.images={mirror.example.com/*,registry.example.com/registry}", "--set", "limits.annotations={default,example.com/*}",
		"--set", "limits.labels={default,example.com/*}", "--set", "limits.env={default,AWS_REGION}", "--set-json", "limits.podFields=[]", "--set", "limits.hostsAnnotation=example.com/hosts")
	for _, words := range []string{"- --allowed-images=mirror.example.com/*,registry.example.com/registry\n", "- --allowed-annotations=default,example.com/*\n", "- --allowed-labels=default,example.com/*\n", "- --allowed-env=default,AWS_REGION\n", "- --allowed-pod-fields=\n", "- --hosts-annotation=example.com/hosts\n"} {
		if !strings.Contains(got, words) {
			t.Errorf("it lacks %q:\n%s", words, got)
		}
	}
	// What is null is left out, and the operator's defaults hold; only an empty list allows nothing.
	if got := args("--set-json", `limits={"annotations":null,"labels":null,"env":null,"podFields":null}`); strings.Contains(got, "--allowed-") {
		t.Errorf("limits of values that are null:\n%s", got)
	}
	for _, wrong := range []string{"limits.images={registry.example.com*}", "limits.annotations={*.example.com}", "limits.podFields={a b}", "limits.env={*_PROXY}", "limits.labels={*.example.com}", "limits.nonsense=1"} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(testserver.Tool(t, "helm"), "helm"), "template", "x", "../../charts/packregistry-operator", "--set", wrong)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "limits") {
			t.Errorf("%s: %v: %s", wrong, err, out)
		}
	}
}
