package config

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/testserver"
)

// What kustomize renames is renamed where a PackRegistry names it.
func TestKustomizeReferences(t *testing.T) {
	kubectl := filepath.Join(testserver.Tool(t, "cluster"), "kubectl")
	out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", "testdata/references").CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl kustomize: %v\n%s", err, out)
	}
	renamed := map[string]bool{}
	var registry, autoscaler map[string]any
	for document := range strings.SplitSeq(string(out), "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		name, _ := o["metadata"].(map[string]any)["name"].(string)
		renamed[name] = true
		switch o["kind"] {
		case "PackRegistry":
			registry = o
		case "HorizontalPodAutoscaler":
			autoscaler = o
		}
	}
	if registry == nil || autoscaler == nil {
		t.Fatalf("objects are missing:\n%s", out)
	}
	found := 0
	check := func(path, name string) {
		found++
		if path == ".auth.secretRefs.name" && name == "elsewhere" {
			return // none of kustomize's
		}
		if !renamed[name] {
			t.Errorf("spec%s is %q, which no object is called", path, name)
		}
	}
	walkNames(registry["spec"], "", check)
	walkNames(autoscaler["spec"], "", check)
	if want := 15; found != want {
		t.Errorf("%d names were found, want %d", found, want)
	}
}

// reference is where names of objects are: a reference's name, or a field that ends in Name.
var reference = regexp.MustCompile(`(Ref|Refs|Secrets)\.name$|(serviceAccount|claim)Name$`)

func walkNames(value any, path string, check func(path, name string)) {
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			walkNames(v, path+"."+key, check)
		}
	case []any:
		for _, v := range value {
			walkNames(v, path, check)
		}
	case string:
		if reference.MatchString(path) {
			check(path, value)
		}
	}
}
