package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"runtime"
	"slices"
	"strings"
	"testing"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/pack"
)

func rules(list []pack.Violation) []string {
	var names []string
	for _, v := range list {
		names = append(names, v.Rule)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A packs of one chart that no warning is about.
func chartPack(t *testing.T, changes map[string]string) map[string]string {
	files := map[string]string{
		"pack.json": "{\n  \"name\": \"demo\", \"displayName\": \"Demo\",\n  \"version\": \"1.0.0\", \"layer\": \"addon\",\n  \"annotations\": {\"source\": \"community\"},\n" +
			"  \"charts\": [\n    \"charts/nginx-1.2.3.tgz\"\n  ]\n}\n",
		"values.yaml":            "pack:\n  content:\n    images:\n    - image: nginx:1\ncharts:\n  nginx: {}\n",
		"charts/nginx-1.2.3.tgz": testpack.Chart(t, "nginx", "1.2.3", nil),
	}
	for name, text := range changes {
		files[name] = text
	}
	return files
}

// The same rules hold for a directory, before it is pushed, and for an archive, when the server reads it.
func both(t *testing.T, files map[string]string) (violations, warnings []pack.Violation) {
	t.Helper()
	dir := testpack.Dir(t, "demo", "1.0.0", files)
	all := testpack.Files("demo", "1.0.0")
	for name, text := range files {
		if all[name] = text; text == "" {
			delete(all, name)
		}
	}
	d, err := pack.OpenDirectory(dir)
	violations = violationsOf(t, err)
	if d != nil {
		warnings = d.Warnings
	}
	a, err := pack.ReadArchive(t.Context(), strings.NewReader(testpack.Archive(t, "demo-1.0.0", all)))
	if got := violationsOf(t, err); fmt.Sprint(got) != fmt.Sprint(violations) {
		t.Errorf("as an archive: %v\nas a directory: %v", got, violations)
	}
	if a != nil && d != nil && fmt.Sprint(a.Warnings) != fmt.Sprint(d.Warnings) {
		t.Errorf("as an archive: %v\nas a directory: %v", a.Warnings, d.Warnings)
	}
	return violations, warnings
}

func violationsOf(t *testing.T, err error) []pack.Violation {
	t.Helper()
	invalid, ok := errors.AsType[*pack.Error](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	if invalid == nil {
		return nil
	}
	return invalid.Violations
}

func TestContentsAreRead(t *testing.T) {
	manifest := func(text string) map[string]string { return map[string]string{"manifests/app.yaml": text} }
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"values that are no YAML", map[string]string{"values.yaml": "x: 1\na: [\n"}, []string{"values.yaml: not YAML", "(line 2)"}},
		{"values that are a list", map[string]string{"values.yaml": "- a\n"}, []string{"values.yaml: must be a mapping (key: value), not a list (line 1)"}},
		{"values of two documents", map[string]string{"values.yaml": "a: 1\n---\nb: 1\n"}, []string{"more than one document"}},
		{"values of comments only", map[string]string{"values.yaml": "# nothing\n"}, nil},
		{"presets that are no list", map[string]string{"presets.yaml": "presets: {}\n"}, []string{"presets.yaml: must be a list"}},
		{"a preset without a name", map[string]string{"presets.yaml": "presets:\n- add: x\n"}, []string{"presets.yaml: a preset without a name (line 2)"}},
		{"two presets of one name", map[string]string{"presets.yaml": "presets:\n- name: a\n- name: a\n"}, []string{`have the name "a" (line 3)`}},
		{"a preset that adds no text", map[string]string{"presets.yaml": "presets:\n- name: a\n  add: {}\n"}, []string{"add must be a text"}},
		{"a preset", map[string]string{"presets.yaml": "presets:\n- name: a\n  displayName: A\n  group: g\n  remove: [x.y]\n  add: |\n    a: 1\n"}, nil},
		{"a schema without a rule", map[string]string{"schema.yaml": "a.b: {}\n"}, []string{`schema.yaml: "a.b" has no rule`}},
		{"a schema", map[string]string{"schema.yaml": "a.b:\n  schema: '{{ required }}'\n"}, nil},
		{"a logo that holds JSON", map[string]string{"logo.png": "{}"}, []string{"logo.png: no image"}},
		{"a logo that is an SVG", map[string]string{"logo.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>"}, nil},
		{"a manifest that is no YAML", manifest("a: [\n"), []string{"manifests/app.yaml: not YAML"}},
		{"a manifest that is a text", manifest("hello\n"), []string{"manifests/app.yaml: must be a mapping", `the text "hello"`}},
		{"a manifest of several documents", manifest("---\nkind: A\n---\n# nothing\n---\nkind: B\n"), nil},
		{"a template", manifest("kind: A\n{{ if .Values.x }}\n{{ .Values.y | quote | toYaml }}{{ end }}\n"), nil},
		{"a folder of manifests", map[string]string{"pack.json": strings.Replace(testpack.Metadata("demo", "1.0.0"), "manifests/app.yaml", "manifests", 1)},
			[]string{`pack.json#/kubeManifests/0: "manifests" is a folder (line 1); name each file in it`}},
		{"a chart", chartPack(t, nil), nil},
		{"a chart that is no gzip", chartPack(t, map[string]string{"charts/nginx-1.2.3.tgz": "hello"}), []string{"charts/nginx-1.2.3.tgz: not a gzip archive", "helm package"}},
		{"a chart that is cut off", chartPack(t, map[string]string{"charts/nginx-1.2.3.tgz": testpack.Chart(t, "nginx", "1.2.3", nil)[:60]}), []string{"charts/nginx-1.2.3.tgz: "}},
		{"a chart without Chart.yaml", chartPack(t, map[string]string{"charts/nginx-1.2.3.tgz": testpack.Archive(t, "nginx", map[string]string{"values.yaml": "a: 1"})}),
			[]string{"no Chart.yaml"}},
		{"a chart without a version", chartPack(t, map[string]string{"charts/nginx-1.2.3.tgz": testpack.Archive(t, "nginx", map[string]string{"Chart.yaml": "name: a"})}),
			[]string{"Chart.yaml: has no version"}},
		{"a chart whose values are a list", chartPack(t, map[string]string{"charts/nginx-1.2.3.tgz": testpack.Chart(t, "nginx", "1.2.3", map[string]string{"values.yaml": "[]"})}),
			[]string{"values.yaml: must be a mapping"}},
		{"a chart that is missing", chartPack(t, map[string]string{"charts/nginx-1.2.3.tgz": ""}), []string{`pack.json#/charts/0: "charts/nginx-1.2.3.tgz" is not in the pack (line 6)`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			violations, _ := both(t, tt.files)
			if (len(violations) > 0) != (len(tt.want) > 0) {
				t.Fatalf("%v, want %q", violations, tt.want)
			}
			for _, words := range tt.want {
				if !strings.Contains(fmt.Sprint(violations), words) {
					t.Errorf("%v lacks %q", violations, words)
				}
			}
		})
	}
}

// Manifests are Kubernetes' own, which takes braces of others (Prometheus, Argo, handlebars) and more than is looked into.
func TestManifestsThatAreNotUnderstood(t *testing.T) {
	for _, tt := range []struct{ name, text, rule, words string }{
		{"a PrometheusRule", "kind: PrometheusRule\nspec:\n  summary: \"{{ $labels.instance }} down\"\n", "template", `undefined variable "$labels" (line 3)`},
		{"a workflow of Argo", "kind: Workflow\nspec:\n  args: [\"{{inputs.parameters.my-param}}\"]\n", "template", "not a Go template"},
		{"handlebars", "kind: ConfigMap\ndata:\n  a: |\n    {{#if x}}{{/if}}\n", "template", "not a Go template"},
		{"another's expression", "kind: Workflow\nspec:\n  a: \"{{=expr}}\"\n", "template", "not a Go template"},
		{"a template that does not parse", "kind: A\n{{ if .Values.x }}\n", "template", "(line 3)"},
		{"many bytes", "kind: A\n" + strings.Repeat("#", 5<<20), "unread", "larger than what is read"},
		{"many bytes of a template", "kind: A\na: {{ .x }}\n" + strings.Repeat("#", 5<<20) + "{{ if }}", "unread", "larger than what is read"},
		{"many values", "kind: A\na:\n" + strings.Repeat("- a: b\n", 200_000), "unread", "larger than what is read"},
		{"many actions", "kind: A\na: " + strings.Repeat("{{ .x }}", 10_001), "unread", "more than 10000 actions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			violations, warnings := both(t, map[string]string{"manifests/app.yaml": tt.text})
			if len(violations) > 0 {
				t.Fatal(violations)
			}
			i := slices.IndexFunc(warnings, func(v pack.Violation) bool { return v.Rule == tt.rule && v.Path == "manifests/app.yaml" })
			if i < 0 || !strings.Contains(warnings[i].String(), tt.words) {
				t.Errorf("%v, want the rule %s and %q", warnings, tt.rule, tt.words)
			}
		})
	}
}

func picture(t *testing.T, width, height int) string {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWarnings(t *testing.T) {
	metadata := chartPack(t, nil)["pack.json"]
	for _, tt := range []struct {
		name  string
		files map[string]string
		rules string
		words string
	}{
		{"nothing", nil, "", ""},
		{"values beside charts", map[string]string{"values.yaml": "pack:\n  content: {images: [{image: a}]}\nreplicas: 1\n"}, "unwired", `put its values under charts.nginx`},
		{"values under another name", map[string]string{"values.yaml": "pack:\n  content: {images: [{image: a}]}\ncharts:\n  ingress-nginx: {}\n"}, "unwired", `charts has "ingress-nginx"`},
		{"no values at all", map[string]string{"values.yaml": "pack:\n  content: {images: [{image: a}]}\n"}, "", ""},
		{"no images", map[string]string{"values.yaml": "pack: {}\ncharts: {nginx: {}}\n"}, "images", "pack.content.images"},
		{"the wrong chart", map[string]string{"charts/nginx-1.2.3.tgz": testpack.Chart(t, "nginx", "1.2.4", nil)}, "chart-version", "the name says version 1.2.3, its Chart.yaml says 1.2.4"},
		{"no README", map[string]string{"README.md": ""}, "readme", ""},
		{"no logo", map[string]string{"logo.png": ""}, "logo-missing", ""},
		{"a wide logo", map[string]string{"logo.png": picture(t, 2, 1)}, "logo-square", "2 by 1"},
		{"a large logo", map[string]string{"logo.png": picture(t, 1, 1) + strings.Repeat("x", 101<<10)}, "logo-size", "101 KiB"},
		{"no source", map[string]string{"pack.json": strings.Replace(metadata, "source", "contributor", 1)}, "source", "(line 4)"},
		{"a version of two numbers", map[string]string{"pack.json": strings.Replace(metadata, "1.0.0", "1.0", 1)}, "semver", "(line 3)"},
		{"a version with a v", map[string]string{"pack.json": strings.Replace(metadata, "1.0.0", "v1.0.0", 1)}, "semver", ""},
		{"what a Mac leaves", map[string]string{"._pack.json": "x", ".DS_Store": "x", "charts/._a": "x", "__MACOSX/a": "x"}, "left-out", "left out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := testpack.Dir(t, "demo", "1.0.0", chartPack(t, tt.files))
			d, err := pack.OpenDirectory(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(rules(d.Warnings), " "); got != tt.rules || !strings.Contains(fmt.Sprint(d.Warnings), tt.words) {
				t.Errorf("%v, want %q", d.Warnings, tt.rules)
			}
			if tt.rules != "left-out" {
				both(t, chartPack(t, tt.files))
			}
		})
	}
}

// Archives that a Mac makes have a second folder and files beside every file; they are no part of the pack.
func TestArchivesOfAMac(t *testing.T) {
	files := testpack.Files("demo", "1.0.0")
	files["._pack.json"], files["manifests/.DS_Store"], files["../__MACOSX/demo-1.0.0/._x"] = "x", "x", "x"
	archive := testpack.Archive(t, "demo-1.0.0", files)
	a, err := pack.ReadArchive(t.Context(), strings.NewReader(archive))
	if err != nil || !slices.Contains(rules(a.Warnings), "left-out") || len(a.Files) != 5 {
		t.Errorf("%v, %v", a, err)
	}
}

// What a hostile pack makes the server do has bounds: of memory, of the stack, of what charts unpack to.
func TestContentsHaveBounds(t *testing.T) {
	deep := strings.Repeat("{{if 1}}", 400_000)
	for name, text := range map[string]string{
		"many values":              "a: [" + strings.Repeat(",", 3<<20),
		"many lines":               strings.Repeat("a:\n", 1<<20),
		"deep lists":               "a: " + strings.Repeat("[", 3<<20),
		"deep mappings":            strings.Repeat("? ", 100_000),
		"deep templates":           deep,
		"deep parentheses":         "{{" + strings.Repeat("(", 1<<20),
		"aliases":                  "a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\n" + strings.Repeat("d: [*c,*c,*c,*c]\n", 10_000),
		"more bytes than are read": strings.Repeat("#", 5<<20),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			files := testpack.Files("demo", "1.0.0")
			files["manifests/app.yaml"] = text
			archive := testpack.Archive(t, "demo-1.0.0", files)
			runtime.ReadMemStats(&before)
			a, err := pack.ReadArchive(context.Background(), strings.NewReader(archive))
			runtime.ReadMemStats(&after)
			if name != "aliases" && err == nil && !slices.ContainsFunc(a.Warnings, func(v pack.Violation) bool { return v.Path == "manifests/app.yaml" }) {
				t.Error("nothing is said of it")
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 400<<20 {
				t.Errorf("%d MiB were allocated: %.200v", used>>20, err)
			}
		})
	}
	bomb := testpack.Chart(t, "nginx", "1.2.3", map[string]string{"a": strings.Repeat("\x00", 65<<20)})
	violations, _ := both(t, chartPack(t, map[string]string{"charts/nginx-1.2.3.tgz": bomb}))
	if !strings.Contains(fmt.Sprint(violations), "unpacks to more than a chart may hold") {
		t.Error(violations)
	}
}
