package values

import (
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"packregistry.dev/internal/testfuzz"
)

const sample = `# spectrocloud.com/enabled-presets: Backend:off

pack:
  content:
    images:
      - image: a.example/b:1 # pinned

# what the manifest takes
manifests:
  hello:
    # the port
    port: 8080

    images:
      ui: a:1
    replicas: 1
`

func TestPresetsKeepTheRestAsItIs(t *testing.T) {
	got, err := Apply(sample, []Preset{{Name: "on", Group: "Backend", Remove: []string{"manifests.hello.replicas"}, Add: "manifests:\n    hello:\n        port: 9090 # other\n        images:\n            api: b:2\n        extra:\n            - x\n"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `# spectrocloud.com/enabled-presets: Backend:on

pack:
  content:
    images:
      - image: a.example/b:1 # pinned

# what the manifest takes
manifests:
  hello:
    # the port
    port: 9090 # other

    images:
      ui: a:1
      api: b:2
    extra:
        - x
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPresetsThatCannotBeApplied(t *testing.T) {
	for name, c := range map[string]struct{ text, add string }{
		"values on one line":     {"a: {b: 1}\nc: 1\n", "a:\n  d: 2\n"},
		"values that are a list": {"- a\n", "b: 1\n"},
		"a preset that is none":  {"a: 1\n", "[["},
	} {
		got, err := Apply(c.text, []Preset{{Name: "x", Add: c.add}})
		var parsed map[string]any
		if err == nil && yaml.Unmarshal([]byte(got), &parsed) != nil {
			t.Errorf("%s: made %q", name, got)
		}
		if err == nil && name != "values on one line" {
			t.Errorf("%s: applied: %q", name, got)
		}
	}
}

func TestRules(t *testing.T) {
	schema := "manifests.hello.port:\n  schema: '{{ required | format \"${number:[1-65535]}\" | hints \"The port.\" }}'\n" +
		"manifests.hello.images.ui:\n  schema: '{{ format \"${string}/${string}:${version}\" }}'\n" +
		"manifests.hello.gone:\n  schema: '{{ readonly }}'\n" +
		"pack.content.images.$[].image:\n  schema: '{{ readonly | hints \"Leave it\" \"alone\" }}'\n"
	rules, absent := Rules([]byte(schema), []byte(sample))
	want := map[int]Rule{
		12: {Required: true, Text: ", number from 1 to 65535. The port."},
		15: {Text: "Of the form string/string:version."},
		6:  {ReadOnly: true, Text: ". Leave it. alone."},
	}
	if absent != 1 || len(rules) != len(want) {
		t.Errorf("%d absent, rules %v", absent, rules)
	}
	for line, rule := range want {
		if rules[line] != rule {
			t.Errorf("line %d: %+v, want %+v", line, rules[line], rule)
		}
	}
}

func TestImages(t *testing.T) {
	if images, why := Images([]byte(sample)); !slices.Equal(images, []string{"a.example/b:1"}) || why != "" {
		t.Errorf("%q %s", images, why)
	}
	for name, text := range map[string]string{"deep": strings.Repeat("- ", 1000) + "a", "flow": strings.Repeat("[", 1000), "large": strings.Repeat("a: b\n", 200000), "not YAML": "a: b: c"} {
		if _, why := Images([]byte(text)); why == "" {
			t.Errorf("%s: read", name)
		}
	}
}

// FuzzApply checks that values stay YAML with the preset's values in them, whatever either is.
func FuzzApply(f *testing.F) {
	f.Add(sample, "manifests:\n  hello:\n    port: 1\n", "manifests.hello.port")
	f.Add("a: |\n  x\n  y\nb: 1\n", "a: 2\n", "b")
	f.Add("a:\n- b\n- c\nd: 1", "a:\n  e: f\n", "d")
	f.Add("a: &x {b: 1}\nc: *x\n", "c:\n  d: 1\n", "a.b")
	f.Add("? a\n: b\n", "a: c\n", "a")
	f.Fuzz(func(t *testing.T, text, add, path string) {
		var got string
		var err error
		testfuzz.Proportionate(t, len(text)+len(add)+len(path), func() {
			got, err = Apply(text, []Preset{{Name: "p", Group: "g", Remove: []string{path}, Add: add}})
			Rules([]byte(add), []byte(text))
			Presets([]byte(text)) //nolint:errcheck // only that it returns
		})
		_ = got
		_ = err
	})
}
