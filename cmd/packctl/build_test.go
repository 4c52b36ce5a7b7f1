package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  template:
    spec:
      initContainers: [{name: wait, image: "busybox:1"}]
      containers:
      - {name: web, image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"}
`

// webChart is the archive of a chart with comments in its values, and an icon.
func webChart(t *testing.T, icon string) string {
	return testpack.Archive(t, "web", map[string]string{
		"Chart.yaml":                fmt.Sprintf("apiVersion: v2\nname: web\nversion: 1.2.3\nappVersion: \"9.9\"\ndescription: A web server\nhome: https://web.example.com\nicon: %s\n", icon),
		"values.yaml":               "# How many.\nreplicas: 2\n\nimage:\n  repository: nginx\n  tag: \"\"\ntext: |\n  two\n\n  lines\n",
		"README.md":                 "# The chart\n",
		"templates/deployment.yaml": deployment,
		"templates/NOTES.txt":       "hello",
	})
}

// A chart becomes a pack that is valid without a warning, and that another machine pulls.
func TestBuild(t *testing.T) {
	t.Parallel()
	var icon bytes.Buffer
	if err := jpeg.Encode(&icon, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		t.Fatal(err)
	}
	var chart string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/icon.jpg":
			w.Write(icon.Bytes())
		case "/charts/index.yaml":
			w.Write([]byte("entries:\n  web:\n  - version: 1.2.3\n    urls: [files/web-1.2.3.tgz]\n  - version: 1.0.0\n    urls: [files/old.tgz]\n"))
		case "/charts/files/web-1.2.3.tgz":
			w.Write([]byte(chart))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(web.Close)
	chart = webChart(t, web.URL+"/icon.jpg")
	dir := t.TempDir()
	file := filepath.Join(dir, "web-1.2.3.tgz")
	if err := os.WriteFile(file, []byte(chart), 0o600); err != nil {
		t.Fatal(err)
	}
	r := testregistry.New(t, testregistry.Options{})
	home := t.TempDir()
	for i, source := range []string{file, web.URL + "/charts/web:1.2.3", web.URL + "/charts/web"} {
		target := filepath.Join(dir, fmt.Sprint(i))
		for _, tt := range []struct {
			line  string
			words string
		}{
			{"pack build my-web " + target + " --chart " + source, "my-web:1.2.3 is a valid pack\n"},
			{"pack validate --strict " + target + "/my-web-1.2.3", "is a valid pack\n"},
			{"registry login " + r.Host + " -u ann --password-stdin --ca-file " + r.CAFile, "Succeeded"},
			{"pack build my-web " + target + "/again --chart " + source + " --push --version 1.2." + fmt.Sprint(4+i) + " -r " + r.Host, "pushed my-web:1.2." + fmt.Sprint(4+i)},
			{"pack pull my-web " + target + "/pulled", "pulled my-web:1.2." + fmt.Sprint(4+i)},
		} {
			if code, out := run(t, home, tt.line); code != 0 || !strings.HasSuffix(out, tt.words) && !strings.Contains(out, tt.words) || strings.Contains(out, "warning") {
				t.Fatalf("packctl %s: %d, %s", tt.line, code, out)
			}
		}
	}
	built := filepath.Join(dir, "0", "my-web-1.2.3")
	var values struct {
		Pack struct {
			Content struct{ Images []struct{ Image string } }
		}
		Charts map[string]map[string]any
	}
	text, err := os.ReadFile(filepath.Join(built, "values.yaml"))
	if err != nil || yaml.Unmarshal(text, &values) != nil {
		t.Fatalf("%s, %v", text, err)
	}
	if images := values.Pack.Content.Images; len(images) != 2 || images[0].Image != "busybox:1" || images[1].Image != "nginx:9.9" {
		t.Errorf("images: %v", images)
	}
	if v := values.Charts["web"]; v["replicas"] != 2.0 || v["text"] != "two\n\nlines\n" || !strings.Contains(string(text), "    # How many.") {
		t.Errorf("values: %s", text)
	}
	lacking := strings.Replace(string(text), `    - image: "busybox:1"`, "", 1)
	if err := os.WriteFile(filepath.Join(built, "values.yaml"), []byte(lacking), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, out := run(t, home, "pack validate "+built); !strings.Contains(out, "the chart web uses the image busybox:1, which pack.content.images lacks") || strings.Contains(out, "nginx:9.9") {
		t.Error(out)
	}
	metadata, err := os.ReadFile(filepath.Join(built, "pack.json"))
	var m map[string]any
	if err != nil || json.Unmarshal(metadata, &m) != nil || m["displayName"] != "My Web" || m["layer"] != "addon" {
		t.Errorf("%s, %v", metadata, err)
	}
	for file, begin := range map[string]string{"logo.png": "\x89PNG", "README.md": "# The chart", "charts/web-1.2.3.tgz": "\x1f\x8b"} {
		if got, err := os.ReadFile(filepath.Join(built, file)); err != nil || !strings.HasPrefix(string(got), begin) {
			t.Errorf("%s: %.20q, %v", file, got, err)
		}
	}
}

func TestBuildSaysWhatItCouldNotTakeOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	chart := testpack.Chart(t, "web", "1.2.3", map[string]string{"templates/a.yaml": `{{ required "name a host" .Values.host }}`})
	file := filepath.Join(dir, "web.tgz")
	if err := os.WriteFile(file, []byte(chart), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line  string
		code  int
		words []string
	}{
		{"pack build web " + dir, 2, []string{"--chart"}},
		{"pack build web " + dir + " --chart /none.tgz", 1, []string{"/none.tgz"}},
		{"pack build Web " + dir + " --chart " + file, 3, []string{"lower-case"}},
		{"pack build web " + dir + " --chart " + file, 0, []string{"note: no logo.png: the chart names no icon", "does not render with its own values", "name a host", "web:1.2.3 is a valid pack"}},
		{"pack build web " + dir + " --chart " + file, 1, []string{"exists already"}},
		{"pack build web " + dir + " --chart https://127.0.0.1:1/web:1.2.3", 1, []string{"connection refused"}},
		{"pack build web " + dir + " --chart oci://127.0.0.1:1/web:1.2.3", 1, []string{"connection refused"}},
		{"pack build web " + dir + " --chart oci://127.0.0.1:1/web", 1, []string{"name a version"}},
	} {
		code, out := run(t, t.TempDir(), tt.line)
		for _, words := range tt.words {
			if code != tt.code || !strings.Contains(out, words) {
				t.Errorf("packctl %s: %d, want %d and %q; %s", tt.line, code, tt.code, words, out)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".building-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
