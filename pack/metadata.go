package pack

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"packregistry.dev/internal/strictjson"
)

// Metadata is what this program needs of pack.json. Everything else is kept as it is, since the file is never rewritten.
type Metadata struct {
	Name          string            `json:"name"`
	DisplayName   string            `json:"displayName"`
	Version       string            `json:"version"`
	Layer         string            `json:"layer"`
	Group         string            `json:"group,omitempty"`
	AddonType     string            `json:"addonType,omitempty"`
	CloudTypes    []string          `json:"cloudTypes,omitempty"`
	Charts        []string          `json:"charts,omitempty"`
	KubeManifests []string          `json:"kubeManifests,omitempty"`
	AnsibleRoles  []string          `json:"ansibleRoles,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// maxMetadata bounds pack.json, in bytes.
const maxMetadata = 1 << 20

// metadataLimits bound what pack.json becomes: the largest public one holds some hundred values.
var metadataLimits = strictjson.Limits{Values: 10_000, Depth: 32}

// document is what readers of pack.json know of it: keys that differ from these in case only would be read by some.
type document struct {
	Metadata
	CloudType   string `json:"cloudType"`
	EOL         string `json:"eol"`
	SubType     string `json:"addonSubType"`
	Constraints struct {
		Dependencies []struct {
			PackName   string `json:"packName"`
			Layer      string `json:"layer"`
			MinVersion string `json:"minVersion"`
			MaxVersion string `json:"maxVersion"`
			Type       string `json:"type"`
		} `json:"dependencies"`
		Resources []struct {
			Type       string `json:"type"`
			MinLimit   any    `json:"minLimit"`
			Components []struct {
				ScheduleType            string `json:"scheduleType"`
				ResourceRequestParamRef string `json:"resourceRequestParamRef"`
				ReplicaCountParamRef    string `json:"replicaCountParamRef"`
			} `json:"components"`
		} `json:"resources"`
	} `json:"constraints"`
}

//go:embed schema.json
var schemaText []byte

var schema = sync.OnceValue(func() *jsonschema.Schema {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaText))
	if err != nil {
		panic(err) // it is part of the program
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("pack.json", document); err != nil {
		panic(err)
	}
	return compiler.MustCompile("pack.json")
})

// ParseMetadata reads pack.json and returns what is wrong with it. Metadata is filled as far as it could be read.
func ParseMetadata(text []byte) (Metadata, []Violation) {
	var m Metadata
	// Editors of some systems begin a file with a byte order mark.
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if err := strictjson.Check(text, reflect.TypeFor[document](), metadataLimits); err != nil {
		return m, []Violation{{Path: MetadataFile, Message: "not JSON: " + err.Error()}}
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return m, []Violation{{Path: MetadataFile, Message: "not JSON: " + err.Error()}}
	}
	var violations []Violation
	if err := schema().Validate(value); err != nil {
		violations = schemaViolations(nil, err)
	}
	if err := json.Unmarshal(text, &m); err != nil && len(violations) == 0 {
		violations = append(violations, Violation{Path: MetadataFile, Message: err.Error()})
	}
	if m.Name != "" && !validName.MatchString(m.Name) {
		violations = append(violations, Violation{Path: MetadataFile + "#/name",
			Message: fmt.Sprintf("%q: use lower-case letters and digits, separated by single '.', '_' or '-'", m.Name)})
	}
	if m.Version != "" {
		if tag := m.Tag(); !validTag.MatchString(tag) {
			violations = append(violations, Violation{Path: MetadataFile + "#/version",
				Message: fmt.Sprintf("%q does not make a tag: use letters, digits, '.', '_' and '-', 128 at most", tag)})
		} else if IsParentTag(tag) {
			violations = append(violations, Violation{Path: MetadataFile + "#/version",
				Message: fmt.Sprintf("%q is the form of a parent tag, which stands for the newest version below it", m.Version)})
		}
	}
	return m, violations
}

var printer = message.NewPrinter(language.English)

// schemaViolations adds the leaves of a validation error: each names one place in the file.
func schemaViolations(list []Violation, err error) []Violation {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return append(list, Violation{Path: MetadataFile, Message: err.Error()})
	}
	if len(invalid.Causes) == 0 {
		place := MetadataFile
		if len(invalid.InstanceLocation) > 0 {
			place += "#/" + strings.Join(invalid.InstanceLocation, "/")
		}
		return append(list, Violation{Path: place, Message: invalid.ErrorKind.LocalizedString(printer)})
	}
	for _, cause := range invalid.Causes {
		list = schemaViolations(list, cause)
	}
	return list
}

// checkFiles returns what is missing of the files that a pack must have and those that its pack.json names. exists
// answers for files and directories, by their path in the pack.
func (m Metadata) checkFiles(exists func(name string) bool) []Violation {
	var violations []Violation
	if !exists(ValuesFile) {
		violations = append(violations, Violation{Path: ValuesFile, Message: "missing; it may be empty"})
	}
	for _, list := range []struct {
		key   string
		paths []string
	}{{"charts", m.Charts}, {"kubeManifests", m.KubeManifests}} {
		for i, p := range list.paths {
			place := fmt.Sprintf("%s#/%s/%d", MetadataFile, list.key, i)
			switch clean := path.Clean(p); {
			case path.IsAbs(p) || clean == ".." || strings.HasPrefix(clean, "../"):
				violations = append(violations, Violation{Path: place, Message: fmt.Sprintf("%q leads out of the pack", p)})
			case !exists(clean):
				violations = append(violations, Violation{Path: place, Message: fmt.Sprintf("%q is not in the pack", p)})
			}
		}
	}
	return violations
}

func sortViolations(violations []Violation) {
	slices.SortStableFunc(violations, func(a, b Violation) int { return strings.Compare(a.Path, b.Path) })
}
