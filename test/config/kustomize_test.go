package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
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
	if want := 20; found != want {
		t.Errorf("%d names were found, want %d", found, want)
	}
}

// reference is where names of objects are: a reference's name, or a field that ends in Name.
var reference = regexp.MustCompile(`(Ref|Refs|Secrets|dataSource|configMap|secret)\.name$|(serviceAccount|claim|secret)Name$`)

// What the schema has of such fields is all in the component, and in the example that is renamed.
func TestEveryReferenceIsKnownToKustomize(t *testing.T) {
	read := func(path string, into any) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err == nil {
			err = yaml.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var crd apiextensionsv1.CustomResourceDefinition
	read("../../config/crd/packregistry.dev_packregistries.yaml", &crd)
	var component struct {
		NameReference []struct{ FieldSpecs []struct{ Kind, Path string } }
	}
	read("../../config/references/nameReference.yaml", &component)
	known := map[string]bool{}
	for _, r := range component.NameReference {
		for _, f := range r.FieldSpecs {
			known[f.Path] = known[f.Path] || f.Kind == "PackRegistry"
		}
	}
	inSchema := 0
	var walk func(schema apiextensionsv1.JSONSchemaProps, path string)
	walk = func(schema apiextensionsv1.JSONSchemaProps, path string) {
		for name, property := range schema.Properties {
			walk(property, path+"."+name)
		}
		if schema.Items != nil && schema.Items.Schema != nil {
			walk(*schema.Items.Schema, path)
		}
		if reference.MatchString(path) {
			inSchema++
			if at := strings.ReplaceAll(path, ".", "/"); !known["spec"+at] {
				t.Errorf("config/references lacks spec%s", at)
			}
		}
	}
	walk(crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"], "")
	for path := range known {
		if strings.HasPrefix(path, "spec/pod/volumes/") || path == "spec/scaleTargetRef/name" { // without a schema; the autoscaler's
			delete(known, path)
		}
	}
	if inSchema != len(known) {
		t.Errorf("%d fields, and %d known", inSchema, len(known))
	}
}

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
