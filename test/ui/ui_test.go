//go:build linux

// Package ui looks at the registry's pages as people do: in Chromium, with axe-core, with the keyboard alone, and without script.
package ui

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/pack"
	"packregistry.dev/server"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
)

const settings = "version: 0.1\nstorage: inmemory\nui: {actions: [tag, untag, delete]}\nauth: {htpasswd: {path: x}}\n"

// serve serves a registry of two users, mara and one whose name attacks, from a storage.
func serve(t *testing.T, d *inmemory.Driver) *httptest.Server {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("mara:"+string(hash)+"\n"+hostileUser+":"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Parse([]byte(settings), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	users, err := auth.OpenHTPasswd(file, log)
	if err != nil {
		t.Fatal(err)
	}
	content, err := store.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(server.New(c, content, users, log))
	h.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

// push pushes a version of a pack under tags, as a user.
func push(t *testing.T, h *httptest.Server, user, name, version string, changes map[string]string, tags ...string) {
	t.Helper()
	d, err := pack.OpenDirectory(testpack.Dir(t, name, version, changes))
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := d.WriteArchive(&archive); err != nil {
		t.Fatal(err)
	}
	send := func(method, path string, body []byte, mediaType string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, h.URL+"/v1/"+name+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, "secret")
		r.Header.Set("Content-Type", mediaType)
		response, err := h.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusCreated {
			text, _ := io.ReadAll(response.Body) //nolint:errcheck // for the message alone
			t.Fatalf("%s %s: %s %s", method, path, response.Status, text)
		}
	}
	layer := digest.FromBytes(archive.Bytes())
	send("POST", "/blobs/uploads/?digest="+layer.String(), archive.Bytes(), "application/octet-stream")
	send("POST", "/blobs/uploads/?digest="+digest.FromString("{}").String(), []byte("{}"), "application/octet-stream")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		pack.ConfigMediaType, digest.FromString("{}"), pack.ArchiveMediaType, layer, archive.Len())
	for _, tag := range append([]string{version}, tags...) {
		send("PUT", "/manifests/"+tag, []byte(manifest), "application/vnd.oci.image.manifest.v1+json")
	}
}

// logo is a PNG with a disk on it.
func logo(t *testing.T) string {
	t.Helper()
	picture := image.NewNRGBA(image.Rect(0, 0, 112, 112))
	for y := range 112 {
		for x := range 112 {
			if (x-56)*(x-56)+(y-56)*(y-56) < 50*50 {
				picture.Set(x, y, color.NRGBA{R: 20, G: uint8(90 + y), B: uint8(110 + x), A: 255}) //nolint:gosec // below 256
			}
		}
	}
	var text bytes.Buffer
	if err := png.Encode(&text, picture); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// script is text that runs where it is not escaped, in one of the ways that there are.
const script = `<script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)>"'><a href="javascript:alert(1)" onclick=alert(1)>x</a>{{7*7}}<style>*{display:none}</style>`

// hostileUser is the same as the name of a user, which has no colon.
const hostileUser = `<script>alert(1)</script><img src=x onerror=alert(1)>"'><b onclick=alert(1)>{{7*7}}`

// hostileTags are tags that the grammar admits, and that are more than names to something.
var hostileTags = []string{"__proto__", "constructor", "onload", "javascript", "_--", "_...", "0", strings.Repeat("W", 128)}

func escaped(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

// fill pushes ordinary packs, and one that attacks whoever looks at it.
func fill(t *testing.T, h *httptest.Server) {
	t.Helper()
	readme := "# Hello Universe\n\nShows how a pack is made.\n\n## Parameters\n\n| Name | Default |\n|---|---|\n| `replicas` | `1` |\n\n```yaml\nreplicas: 2\n```\n"
	values := "# How many pods there are.\npack:\n  namespace: hello\nreplicas: 1\nimage:\n  repository: example.com/hello\n  tag: \"1.0\"\n"
	for version, tags := range map[string][]string{"1.0.0": nil, "1.1.0": nil, "1.1.1": {"stable"}} {
		push(t, h, "mara", "hello-universe", version, map[string]string{"README.md": readme, "values.yaml": values + "version: " + version + "\n", "logo.png": logo(t),
			"pack.json": `{"name": "hello-universe", "displayName": "Hello Universe", "version": "` + version + `", "layer": "addon", "addonType": "app services", "cloudTypes": ["all"], "kubeManifests": ["manifests/app.yaml"], "annotations": {"description": "Shows how a pack is made", "source": "community"}}`}, tags...)
	}
	push(t, h, hostileUser, "hostile", "1.0.0", map[string]string{
		"pack.json":                             `{"name": "hostile", "displayName": "` + escaped(script) + `", "version": "1.0.0", "layer": "addon", "kubeManifests": ["manifests/app.yaml"], "annotations": {"description": "` + escaped(script) + `", "source": "` + escaped(script) + `"}}`,
		"README.md":                             "# " + script + "\n\n" + script + "\n\n[x](javascript:alert(1)) ![x](https://evil.example/x.png) ![y](images/x.svg) <https://evil.example>\n\n<iframe src=https://evil.example></iframe>\n\n```\n" + script + "\n```\n",
		"values.yaml":                           "a: |\n  " + script + "\n\"" + strings.ReplaceAll(script, `"`, "'") + "\": 1\n",
		"images/x.svg":                          `<svg xmlns="http://www.w3.org/2000/svg" onload="document.documentElement.id='ran'"><script>document.documentElement.id='ran'</script><image href="https://evil.example/x.png"/></svg>`,
		"notes &lt;b&gt; 'onerror=alert(1).txt": script,
		"x.html":                                "<script>alert(1)</script>",
	}, append(hostileTags, "stable")...)
}

// crawl opens every page that links lead to, and calls visit there. raw is the addresses of files as they are.
func (b *chromium) crawl(visit func(path string)) (pages int, raw []string) {
	b.t.Helper()
	seen, todo := map[string]bool{"/ui/": true}, []string{"/ui/"}
	for n := 0; n < len(todo); n++ {
		b.open(todo[n])
		visit(todo[n])
		links := evaluate[[]string](b, "[...document.querySelectorAll('a[href]')].filter(a=>a.origin==location.origin&&!a.hasAttribute('download')).map(a=>a.pathname+a.search)")
		for _, link := range links {
			if seen[link] || !strings.HasPrefix(link, "/ui/") {
				continue
			}
			seen[link] = true
			if strings.Contains(link, "raw=") {
				raw = append(raw, link)
			} else {
				todo = append(todo, link)
			}
		}
	}
	return len(todo), raw
}

func TestEveryPage(t *testing.T) {
	h := serve(t, inmemory.New())
	fill(t, h)
	b := browse(t, h.URL)
	b.appear(1280, "light")
	b.logIn(hostileUser, "secret")
	shown := map[string]bool{}
	n, raw := b.crawl(func(path string) {
		if evaluate[bool](b, "!!document.querySelector('#main .code')") {
			t.Errorf("%s is an error: %s", path, evaluate[string](b, "document.title"))
		}
		shown[hostileUser] = shown[hostileUser] || strings.Contains(evaluate[string](b, "document.body.innerText"), hostileUser)
		whole := evaluate[[]string](b, "[...document.querySelectorAll('main *')].filter(e => !e.children.length).map(e => e.textContent.trim())")
		for _, tag := range hostileTags { // as all of an element's text: a part of another says nothing
			shown[tag] = shown[tag] || slices.Contains(whole, tag)
		}
		if evaluate[bool](b, "!!document.querySelector('main script, main iframe, main style, main [onerror], main [onload], main [onclick], main a[href^=\"javascript:\"]')") {
			t.Errorf("%s has what could run", path)
		}
		b.check()
	})
	if n < 20 {
		t.Errorf("links lead to %d pages only", n)
	}
	for _, hostile := range append(hostileTags, hostileUser) {
		if !shown[hostile] {
			t.Errorf("no page shows %q as it is", hostile)
		}
	}
	b.openRaw(h, raw)
}

// openRaw opens files as they are, each on its own, where a browser does not keep them instead.
func (b *chromium) openRaw(h *httptest.Server, paths []string) {
	b.t.Helper()
	const svg = "/ui/packs/hostile/1.0.0/files/images/x.svg?raw=1"
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	h.Client().Jar = jar
	r, err := h.Client().PostForm(h.URL+"/ui/login", url.Values{"user": {"mara"}, "password": {"secret"}})
	if err != nil {
		b.t.Fatal(err)
	}
	r.Body.Close()
	opened := map[string]int{}
	for _, path := range append(paths, svg, "/ui/packs/hostile/1.0.0/files/x.html?raw=1") {
		r, err := h.Client().Get(h.URL + path)
		if err != nil {
			b.t.Fatal(err)
		}
		r.Body.Close()
		kept, policy := r.Header.Get("Content-Disposition") == "attachment", r.Header.Get("Content-Security-Policy")
		if r.StatusCode != http.StatusOK || !strings.Contains(policy, "sandbox") || strings.Contains(policy, "allow-scripts") {
			b.t.Errorf("%s is answered %s with the policy %q", path, r.Status, policy)
		}
		if kept {
			opened["kept"]++
			continue
		}
		b.open(path)
		if evaluate[bool](b, "document.documentElement.id=='ran'") || evaluate[string](b, "String(self.origin)") != "null" {
			b.t.Errorf("%s runs, or has an origin", path)
		}
		opened[evaluate[string](b, "document.contentType")]++
	}
	b.awaitBlocked()
	if opened["image/svg+xml"] == 0 || opened["text/plain"] == 0 || opened["kept"] == 0 {
		b.t.Errorf("files as they are: %v", opened)
	}
}

func TestTheKeyboardAlone(t *testing.T) {
	h := serve(t, inmemory.New())
	fill(t, h)
	b := browse(t, h.URL)
	b.logIn("mara", "secret")
	b.tabTo("a[href='/ui/packs/hello-universe']")
	b.keys("\r")
	b.await("location.pathname.startsWith('/ui/packs/hello-universe')")
	b.tabTo(".tabs a[href$='/versions']")
	b.keys("\r")
	b.await("location.pathname.endsWith('/versions')")
	b.tabTo("button[aria-label='Take away stable']")
	b.keys("\r")
	b.await("!document.querySelector(\"button[aria-label='Take away stable']\") && !!document.querySelector('table.vs')")
}

func TestWithoutScript(t *testing.T) {
	h := serve(t, inmemory.New())
	fill(t, h)
	b := browse(t, h.URL)
	b.call(emulation.SetScriptExecutionDisabled.Method, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.logIn("mara", "secret")
	b.open("/ui/?q=universe")
	b.await("!!document.querySelector(\"a[href='/ui/packs/hello-universe']\") && !document.querySelector(\"a[href='/ui/packs/hostile']\")")
	b.open("/ui/packs/hello-universe/1.0.0/delete")
	b.tabTo("#sure")
	b.keys("1.0.0\r")
	b.await("location.pathname.endsWith('/versions')")
	if text := evaluate[string](b, "document.querySelector('table.vs').textContent"); strings.Contains(text, "1.0.0") {
		t.Error("the version is still there")
	}
}

// The pages at their extremes, to be looked at.
func TestScreenshots(t *testing.T) {
	h := serve(t, inmemory.New())
	fill(t, h)
	b := browse(t, h.URL)
	b.logIn("mara", "secret")
	for name, path := range map[string]string{"list": "/ui/", "pack": "/ui/packs/hello-universe", "values": "/ui/packs/hello-universe/1.1.1/values",
		"versions": "/ui/packs/hello-universe/1.1.1/versions", "delete": "/ui/packs/hello-universe/1.0.0/delete", "about": "/ui/about", "diff": "/ui/packs/hello-universe/1.1.0/diff/1.1.1"} {
		for _, width := range []int64{320, 1280} {
			for _, colours := range []string{"light", "dark"} {
				b.appear(width, colours)
				b.open(path)
				if wide := evaluate[int](b, "document.documentElement.scrollWidth"); int64(wide) > width {
					t.Errorf("%s is %d wide at %d", path, wide, width)
				}
				b.keep(fmt.Sprintf("%s-%d-%s", name, width, colours))
			}
		}
	}
}
