package ui_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"packregistry.dev/server/ui"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a registry with one pack that has everything pages show.
func sample() memory {
	files := func(version, port string) map[string]string {
		return map[string]string{
			"pack.json": fmt.Sprintf(`{
  "name": "gauge",
  "displayName": "Gauge",
  "version": %q,
  "layer": "addon",
  "addonType": "monitoring",
  "cloudTypes": ["aws", "edge"],
  "eol": "2027-01-31",
  "annotations": {"source": "in-house", "contributor": "ops", "docsURL": "https://docs.example.com/gauge", "system_state": "deprecated"},
  "kubeManifests": ["manifests/gauge.yaml"],
  "constraints": {
    "dependencies": [{"packName": "store", "layer": "csi", "type": "required", "minVersion": "1.0.0"}, {"packName": "other", "layer": "addon", "type": "notSupported"}],
    "resources": [{"type": "cpu", "minLimit": 500}]
  }
}
`, version),
			"values.yaml": "# spectrocloud.com/enabled-presets: Size:small\npack:\n  content:\n    images:\n      - image: a.example/gauge:1\nmanifests:\n  gauge:\n    port: " + port + " # where\n",
			"presets.yaml": "presets:\n  - name: small\n    displayName: Small\n    group: Size\n    add: |\n      manifests:\n        gauge:\n          port: 1\n" +
				"  - name: large\n    displayName: Large\n    group: Size\n    add: |\n      manifests:\n        gauge:\n          port: 2\n          replicas: 3\n",
			"schema.yaml":          "manifests.gauge.port:\n  schema: '{{ required | format \"${number}\" | hints \"The port.\" }}'\n",
			"README.md":            "# Gauge\n\nMeasures [things](docs/a.md).\n\n## Use\n\n| a | b |\n|---|---|\n| `c.d` | e |\n",
			"manifests/gauge.yaml": "spec:\n  image: b.example/side:2\n",
			"docs/a.md":            "text\n",
			"logo.png":             "\x89PNG",
		}
	}
	return memory{"gauge": {"1.0.0": files("1.0.0", "8080"), "1.1.0": files("1.1.0", "9090"), "LTS__1.0.0": files("1.0.0", "8081"), "stable": files("1.1.0", "9090")}}
}

func pages(t testing.TB, m memory) http.Handler {
	t.Helper()
	h, err := ui.New(ui.Options{Base: "/ui/", Version: "1.0.0", Now: func() time.Time { return pushed.Add(72 * time.Hour) },
		Address: func(*http.Request) string { return "https://packs.example.com" },
		Open:    func(*http.Request) (ui.Viewer, ui.Registry) { return someone{login: true}, m }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// every is a page of each kind.
var every = map[string]string{
	"list":         "?q=gauge",
	"no-match":     "?q=nothing&layer=csi",
	"about":        "about",
	"pack":         "packs/gauge",
	"values":       "packs/gauge/1.1.0/values",
	"preset":       "packs/gauge/1.1.0/values?preset.Size=large&shown=1&rules=1",
	"versions":     "packs/gauge/1.1.0/versions",
	"diff":         "packs/gauge/1.0.0/diff/1.1.0",
	"dependencies": "packs/gauge/1.1.0/dependencies",
	"images":       "packs/gauge/1.1.0/images",
	"files":        "packs/gauge/1.1.0/files/docs/a.md",
	"no-version":   "packs/gauge/9.9.9",
	"no-pack":      "packs/nothing",
	"no-file":      "packs/gauge/1.1.0/files/none",
}

func TestGoldenPages(t *testing.T) {
	h := pages(t, sample())
	for name, path := range every {
		w := get(h, "/ui/"+path)
		if want := http.StatusOK; !strings.HasPrefix(name, "no-") && w.Code != want {
			t.Errorf("%s: %d", name, w.Code)
		}
		// The addresses of the assets hold hashes of their content, which change with each line of them.
		text := w.Body.String()
		for _, asset := range []string{"icon.svg", "style.css", "app.js"} {
			if before, after, ok := strings.Cut(text, asset+"?v="); ok {
				text = before + asset + "?v=HASH" + after[strings.IndexByte(after, '"'):]
			}
		}
		file := filepath.Join("testdata", name+".html")
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if text != string(want) {
			t.Errorf("%s is not %s; look at it and run the test with -update", name, file)
		}
	}
}

// checkPage parses a page as a browser does, and looks for what the policy forbids or hostile content could have brought in.
func checkPage(t *testing.T, path, text string) (links []string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	elements := []string{"a", "article", "b", "body", "br", "button", "caption", "code", "col", "colgroup", "dd", "del", "details", "div", "dl", "dt", "fieldset",
		"footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "html", "i", "img", "input", "ins", "label", "legend", "li", "link", "main", "mark",
		"meta", "nav", "option", "p", "path", "pre", "script", "section", "select", "small", "span", "strong", "summary", "svg", "table", "tbody", "td", "th", "thead",
		"time", "title", "tr", "ul", "wbr", "em", "ol", "hr", "blockquote"}
	headings := 0
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if !slices.Contains(elements, n.Data) {
			t.Errorf("%s has <%s>", path, n.Data)
		}
		if n.Data == "h1" {
			headings++
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcset", a.Key == "formaction":
				t.Errorf("%s has <%s %s=%q>", path, n.Data, a.Key, a.Val)
			case a.Key == "id" && seen[a.Val]:
				t.Errorf("%s has the id %q twice", path, a.Val)
			case a.Key == "id":
				seen[a.Val] = true
			case a.Key == "src", a.Key == "action", n.Data == "link" && a.Key == "href":
				if !strings.HasPrefix(a.Val, "/ui/") {
					t.Errorf("%s has <%s %s=%q>", path, n.Data, a.Key, a.Val)
				}
			case a.Key == "href":
				u, err := url.Parse(a.Val)
				if err != nil || u.Scheme != "" && u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "mailto" || u.Scheme == "" && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "/ui/") {
					t.Errorf("%s leads to %q", path, a.Val)
				} else if u.Scheme == "" && u.Path != "" {
					links = append(links, u.RequestURI())
				}
			}
		}
	}
	if headings != 1 {
		t.Errorf("%s has %d headings of level 1", path, headings)
	}
	return links
}

func TestEveryLinkLeadsToAPage(t *testing.T) {
	h := pages(t, sample())
	seen := map[string]bool{}
	for queue := []string{"/ui/", "/ui/packs/gauge/1.0.0/diff/1.1.0"}; len(queue) > 0; queue = queue[1:] {
		path := queue[0]
		if seen[path] || strings.HasPrefix(path, "/ui/login") {
			continue
		}
		seen[path] = true
		w := get(h, path)
		if w.Code != http.StatusOK && path != "/ui/packs/store" && path != "/ui/packs/other" {
			t.Errorf("%s: %d", path, w.Code)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			queue = append(queue, checkPage(t, path, w.Body.String())...)
		}
	}
	if len(seen) < 30 {
		t.Errorf("only %d pages were found", len(seen))
	}
}

// What packs say is shown, and is nothing but text.
func TestHostilePacks(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)><b a='`
	quoted := strings.ReplaceAll(evil, `"`, `\"`)
	files := map[string]string{
		"pack.json": `{"name": "gauge", "displayName": "` + quoted + `", "version": "` + quoted + `", "layer": "` + quoted + `", "addonType": "` + quoted + `", "cloudTypes": ["` + quoted + `"], "eol": "` + quoted +
			`", "annotations": {"source": "` + quoted + `", "contributor": "` + quoted + `", "docsURL": "javascript:alert(1)", "description": "` + quoted + `"}, "charts": ["` + quoted + `"], "kubeManifests": ["` + quoted +
			`"], "constraints": {"dependencies": [{"packName": "` + quoted + `", "type": "` + quoted + `"}, {"packName": "../../../v2"}], "resources": [{"type": "` + quoted + `"}]}}`,
		"values.yaml":     "a: " + evil + "\npack:\n  content:\n    images:\n    - image: '" + strings.ReplaceAll(evil, "'", "''") + "'\n",
		"presets.yaml":    "presets:\n- name: '" + strings.ReplaceAll(evil, "'", "''") + "'\n  group: '\"><script>'\n  add: 'a: 1'\n",
		"schema.yaml":     "a:\n  schema: '{{ required | hints \"<script>alert(1)</script>\" }}'\n",
		"README.md":       evil + "\n\n# " + evil + "\n\n[x](javascript:alert(1)) ![y](//evil.example/x.png)\n",
		evil + ".yaml":    evil,
		"a/../b?c#d.json": "{",
		"x.svg":           "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script></svg>",
		"x.html":          "<script>alert(1)</script>",
		"logo.png":        evil,
	}
	m := memory{"gauge": {"1.0.0": files, "1.1.0": files}}
	h := pages(t, m)
	paths := []string{"packs/gauge/1.0.0/files/" + url.PathEscape(evil+".yaml"), "packs/" + url.PathEscape(evil), "packs/gauge/" + url.PathEscape(evil), "?q=" + url.QueryEscape(evil) + "&layer=" + url.QueryEscape(evil),
		"packs/gauge/1.0.0/values?shown=1&rules=1&preset." + url.QueryEscape(`"><script>`) + "=" + url.QueryEscape(evil), "packs/gauge/1.0.0/versions?after=" + url.QueryEscape(evil)}
	for _, path := range every {
		paths = append(paths, path)
	}
	for _, path := range paths {
		w := get(h, "/ui/"+path)
		if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			checkPage(t, path, w.Body.String())
		}
		if w.Header().Get("Content-Security-Policy") == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, w.Header())
		}
	}
	for name, want := range map[string]string{"x.svg": "image/svg+xml", "x.html": "application/octet-stream", "values.yaml": "text/plain; charset=utf-8"} {
		w := get(h, "/ui/packs/gauge/1.0.0/files/"+name+"?raw=1")
		if w.Header().Get("Content-Type") != want || !strings.Contains(w.Header().Get("Content-Security-Policy"), "sandbox") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", name, w.Header())
		}
	}
}

// Files beyond every bound are paged or left to a download, and cost no more than what is shown.
func TestHugeFiles(t *testing.T) {
	m := sample()
	files := m["gauge"]["1.1.0"]
	files["values.yaml"] = strings.Repeat("a: b\n", 100_000)
	files["README.md"] = strings.Repeat("a\n", 400_000)
	files["docs/a.md"] = strings.Repeat("a\n", 1<<20)
	files["manifests/gauge.yaml"] = strings.Repeat(" ", 300_000) + "a: b"
	for i := range 20_000 {
		files[fmt.Sprintf("many/%05d", i)] = ""
	}
	h := pages(t, m)
	for name, path := range every {
		if w := get(h, "/ui/"+path); w.Code >= 500 || w.Body.Len() > 2<<20 {
			t.Errorf("%s: %d with %d bytes", name, w.Code, w.Body.Len())
		}
	}
	second := get(h, "/ui/packs/gauge/1.1.0/values?page=2").Body.String()
	if !strings.Contains(second, `id="L2001"`) || strings.Contains(second, `id="L2000"`) || !strings.Contains(second, `rel="next"`) {
		t.Error("the second page of the values does not show lines 2001 to 4000")
	}
	if w := get(h, "/ui/packs/gauge/1.1.0/files/docs/a.md?raw=1"); w.Body.Len() != 2<<20 {
		t.Errorf("a large file was sent with %d bytes", w.Body.Len())
	}
}

func TestManyVersionsArePaged(t *testing.T) {
	m := sample()
	for i := range 120 {
		m["gauge"][fmt.Sprintf("2.%d.0", i)] = m["gauge"]["1.1.0"]
	}
	h := pages(t, m)
	seen, path := 0, "/ui/packs/gauge/1.1.0/versions"
	for turn := 0; path != "" && turn < 10; turn++ {
		text := get(h, path).Body.String()
		seen += strings.Count(text, `data-h="Digest"`)
		_, next, ok := strings.Cut(text, `rel="next" href="`)
		if path = ""; ok {
			path = html.UnescapeString(next[:strings.IndexByte(next, '"')])
		}
	}
	if seen != 123 {
		t.Errorf("%d of 123 versions were shown", seen)
	}
}

// The figure of the design: a page of a pack is small on its way.
func TestPagesAreSmall(t *testing.T) {
	h := pages(t, sample())
	for name, path := range every {
		if w := get(h, "/ui/"+path, "Accept-Encoding", "gzip"); w.Body.Len() > 30<<10 {
			t.Errorf("%s: %d bytes", name, w.Body.Len())
		}
	}
}

func BenchmarkPages(b *testing.B) {
	h := pages(b, sample())
	for _, name := range []string{"list", "pack", "values", "versions", "diff", "files"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				get(h, "/ui/"+every[name], "Accept-Encoding", "gzip")
			}
		})
	}
}

func TestEmptyRegistrySaysHowToPush(t *testing.T) {
	w := get(pages(t, memory{}), "/ui/")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "packctl registry login https://packs.example.com") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	checkPage(t, "/ui/", w.Body.String())
}
