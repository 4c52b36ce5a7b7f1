package docs

import (
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/server/config"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// What the documents show of YAML is read as strictly as what users write: whole objects, parts of a PackRegistry's spec, and, in
// configuration.md, parts of the server's configuration.
func TestManifestsCanBeRead(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for path := range strings.FieldsSeq(string(out)) {
		for _, block := range yamlBlock.FindAllStringSubmatch(read(t, path), -1) {
			text := strings.ReplaceAll(block[1], "{…}", "{}")
			if strings.HasPrefix(text, "- ") {
				continue // a list is a part of somebody else's configuration
			}
			checked++
			if err := readAs(path, text); err != nil {
				t.Errorf("%s: %v\n%s", path, err, text)
			}
		}
	}
	if checked < 8 {
		t.Errorf("only %d blocks were found", checked)
	}
}

func readAs(path, text string) error {
	if path == "docs/configuration.md" {
		whole := "version: 0.1\n" + text
		if !strings.Contains(text, "storage:") {
			whole += "storage: inmemory\n"
		}
		_, warnings, err := config.Parse([]byte(whole), config.Options{})
		if err == nil && len(warnings) > 0 {
			err = errors.New(strings.Join(warnings, "\n"))
		}
		return err
	}
	var object struct {
		Kind string `json:"kind"`
	}
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		return err
	}
	switch object.Kind {
	case "PackRegistry":
		return yaml.UnmarshalStrict([]byte(text), &v1alpha1.PackRegistry{})
	case "":
		return yaml.UnmarshalStrict([]byte(text), &v1alpha1.PackRegistrySpec{})
	}
	return nil // of another API
}
