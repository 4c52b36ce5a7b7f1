package config

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/testserver"
)

// Two versions of the operator, whose Leases may have different names, are not both active during an upgrade.
func TestAnUpgradeStopsTheOldVersionFirst(t *testing.T) {
	kubectl := filepath.Join(testserver.Tool(t, "cluster"), "kubectl")
	out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", "../../config/default").CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl kustomize: %v\n%s", err, out)
	}
	found := 0
	for document := range strings.SplitSeq(string(out), "\n---\n") {
		var o struct {
			Kind string `json:"kind"`
			Spec struct {
				Strategy map[string]any `json:"strategy"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		if o.Kind != "Deployment" {
			continue
		}
		found++
		if rolling, _ := o.Spec.Strategy["rollingUpdate"].(map[string]any); rolling["maxSurge"] != 0.0 || rolling["maxUnavailable"] != "100%" {
			t.Errorf("strategy: %v", o.Spec.Strategy)
		}
	}
	if found != 1 {
		t.Errorf("%d Deployments", found)
	}
}
