package children_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"packregistry.dev/controllers/children"
)

// defaultsOf parses what tests give.
func defaultsOf(t *testing.T, resources, securityContext string) children.PodDefaults {
	t.Helper()
	defaults, err := children.ParsePodDefaults(resources, securityContext)
	if err != nil {
		t.Fatal(err)
	}
	return defaults
}

// The defaults fill what a spec leaves out, and nothing else.
func TestPodDefaultsGolden(t *testing.T) {
	defaults := defaultsOf(t, `{"requests":{"cpu":"50m","memory":"64Mi"},"limits":{"memory":"256Mi"}}`, `{"runAsUser":1000,"fsGroup":2000,"supplementalGroups":[7]}`)
	var text strings.Builder
	for _, pod := range []string{
		`{}`,
		`{"resources":{"limits":{"memory":"1Gi"}}}`,
		`{"securityContext":{"runAsGroup":5}}`,
		`{"securityContext":{"runAsUser":null,"supplementalGroups":[9]}}`,
		`{"securityContext":{}}`,
	} {
		r := registries["claim"]()
		if err := json.Unmarshal([]byte(pod), &r.Spec.Pod); err != nil {
			t.Fatal(err)
		}
		deployment, err := children.Deployment(r, children.DeploymentInput{Image: "i", Defaults: defaults, Config: children.RenderedConfig{Name: "c", Hash: "h"}})
		if err != nil {
			t.Fatal(err)
		}
		spec := deployment.Spec.Template.Spec
		part, err := yaml.Marshal(map[string]any{"resources": spec.Containers[0].Resources, "securityContext": spec.SecurityContext})
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("--- # " + pod + "\n" + string(part))
	}
	compare(t, filepath.Join("testdata", "defaults.yaml"), text.String())
}

// What would make every Deployment fail, or run as root, is refused before anything is rendered.
func TestPodDefaultsAreChecked(t *testing.T) {
	for _, tt := range []struct{ resources, context, want string }{
		{`{"request":{}}`, "", `unknown field "request"`},
		{`{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}`, "", "the request of cpu (2) is above its limit (1)"},
		{`{"requests":{"cpu":"-1"}}`, "", "cpu is below zero"},
		{`{"requests":{"cpu":"many"}}`, "", "resources: "},
		{`{"claims":[{"name":"a"}]}`, "", "claims cannot be a default"},
		{`{} {}`, "", "resources: invalid character"},
		{"", `{"runAsUser":0}`, "0 is no user or group to run as"},
		{"", `{"supplementalGroups":[0]}`, "0 is no user or group to run as"},
		{"", `{"runAsNonRoot":false}`, `unknown field "runAsNonRoot"`},
		{"", `[]`, "pod security context: "},
	} {
		if _, err := children.ParsePodDefaults(tt.resources, tt.context); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s%s: %v", tt.resources, tt.context, err)
		}
	}
}

// What the chart says by default is what the operator has built in: it makes no other release of it.
func TestFingerprintOfPodDefaults(t *testing.T) {
	for _, same := range [][2]string{{"", ""}, {"{}", ""}, {"", `{"runAsUser":65532,"runAsGroup":65532,"fsGroup":65532}`}} {
		if got := defaultsOf(t, same[0], same[1]).Fingerprint(); got != "" {
			t.Errorf("%q: %s", same, got)
		}
	}
	seen := map[string]bool{"": true}
	for _, other := range [][2]string{{`{"limits":{"cpu":"1"}}`, ""}, {`{"limits":{"cpu":"2"}}`, ""}, {"", "{}"}, {"", `{"runAsUser":65532}`}} {
		got := defaultsOf(t, other[0], other[1]).Fingerprint()
		if seen[got] || got != defaultsOf(t, other[0], other[1]).Fingerprint() {
			t.Errorf("%q: %s", other, got)
		}
		seen[got] = true
	}
}
