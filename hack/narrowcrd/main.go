// Command narrowcrd makes the schema of a CustomResourceDefinition narrower than what Go can decode. controller-gen writes the
// schemas of Kubernetes' own types as they are, and those let quantities and numbers through that their Go types refuse; an
// object with one of them could be stored, and then not be read.
//
//	go run ./hack/narrowcrd FILE…
package main

import (
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// quantity is what resource.ParseQuantity takes, without signs and without exponents of more digits than anybody has bytes.
const quantity = `^([0-9]{1,15}(\.[0-9]{0,9})?|\.[0-9]{1,9})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$`

// widest is the largest integer that every JSON parser keeps as it is.
const widest = 1 << 53

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "narrowcrd:", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var crd map[string]any
		if err := yaml.Unmarshal(text, &crd); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		narrow(crd)
		if text, err = yaml.Marshal(crd); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(file, append([]byte("---\n"), text...), 0o644); err != nil { //nolint:gosec // a manifest is for all to read
			return err
		}
	}
	return nil
}

// narrow changes all schemas within a value.
func narrow(value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, member := range value {
			if key != "anyOf" && key != "additionalPrinterColumns" {
				narrow(member)
			}
		}
		pattern, _ := value["pattern"].(string)
		switch {
		case value["x-kubernetes-int-or-string"] == true && strings.Contains(pattern, "KMGTPE"):
			value["pattern"] = quantity
			bound(value, 0, widest)
		case value["x-kubernetes-int-or-string"] == true:
			bound(value, 0, 1<<31-1) // a number of pods, or percent of them
		case value["type"] == "integer" && value["format"] == "int32":
			bound(value, -1<<31, 1<<31-1)
		case value["type"] == "integer":
			bound(value, -widest, widest)
		}
	case []any:
		for _, element := range value {
			narrow(element)
		}
	}
}

// bound adds the bounds that are not there.
func bound(schema map[string]any, least, most int64) {
	if _, ok := schema["minimum"]; !ok {
		schema["minimum"] = least
	}
	if _, ok := schema["maximum"]; !ok {
		schema["maximum"] = most
	}
}
