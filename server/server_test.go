package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/pack"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// fixture is a running registry.
type fixture struct {
	t   *testing.T
	url string
	*Server
}

// start serves a registry over d, with the configuration's text after the first lines.
func start(t *testing.T, d driver.Driver, more string, users *auth.HTPasswd) *fixture {
	t.Helper()
	c, _, err := config.Parse([]byte("version: 0.1\nstorage: {inmemory: {}"+more), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if users != nil {
		c.Auth = &config.Auth{HTPasswd: &config.HTPasswd{Realm: "test"}}
	}
	server := New(c, s, users, slog.New(slog.DiscardHandler))
	h := httptest.NewServer(server)
	t.Cleanup(h.Close)
	return &fixture{t, h.URL, server}
}

func open0(t *testing.T) *fixture { return start(t, inmemory.New(), "}", nil) }

// do sends a request; headers are pairs of name and value.
func (f *fixture) do(method, path string, body io.Reader, headers ...string) *http.Response {
	f.t.Helper()
	if !strings.Contains(path, "://") {
		path = f.url + path
	}
	r, err := http.NewRequestWithContext(f.t.Context(), method, path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	r.Host = r.Header.Get("Host")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(text))
	return response
}

func text(r *http.Response) string {
	b, _ := io.ReadAll(r.Body) //nolint:errcheck // it is in memory
	return string(b)
}

func (f *fixture) want(r *http.Response, status int, words ...string) {
	f.t.Helper()
	body := text(r)
	if r.StatusCode != status {
		f.t.Fatalf("%s %s: %s, want %d: %s", r.Request.Method, r.Request.URL.Path, r.Status, status, body)
	}
	for _, w := range words {
		if !strings.Contains(body, w) {
			f.t.Errorf("%s %s: the body lacks %q: %s", r.Request.Method, r.Request.URL.Path, w, body)
		}
	}
}

func (f *fixture) pushBlob(name, content string) digest.Digest {
	f.t.Helper()
	d := digest.FromString(content)
	f.want(f.do("POST", "/v2/"+name+"/blobs/uploads/?digest="+d.String(), strings.NewReader(content)), 201)
	return d
}

const imageManifest = "application/vnd.oci.image.manifest.v1+json"

// packManifest pushes a pack's blobs and returns its manifest.
func (f *fixture) packManifest(name, version string, changes map[string]string) string {
	f.t.Helper()
	d, err := pack.OpenDirectory(testpack.Dir(f.t, name, version, changes))
	if err != nil {
		f.t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := d.WriteArchive(&archive); err != nil {
		f.t.Fatal(err)
	}
	layer := f.pushBlob("spectro-packs/archive/"+name, archive.String())
	configBlob := f.pushBlob("spectro-packs/archive/"+name, "{}")
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		imageManifest, pack.ConfigMediaType, configBlob, pack.ArchiveMediaType, layer, archive.Len())
}

func (f *fixture) putManifest(path, manifest string, headers ...string) *http.Response {
	f.t.Helper()
	return f.do("PUT", path, strings.NewReader(manifest), append([]string{"Content-Type", imageManifest}, headers...)...)
}

func TestEveryResponseCarriesTheHeaders(t *testing.T) {
	f := start(t, inmemory.New(), "}\nhttp: {headers: {X-Frame-Options: [], X-Added: [a, b]}}", nil)
	for _, path := range []string{"/health", "/v2/", "/nowhere", "/v2/x/manifests/none"} {
		h := f.do("GET", path, nil).Header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v", path, h)
		}
		if _, there := h["X-Frame-Options"]; there || !slices.Equal(h["X-Added"], []string{"a", "b"}) {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestHealthAndBase(t *testing.T) {
	f := open0(t)
	f.want(f.do("GET", "/health", nil), 200, `{"status":"UP"}`)
	f.want(f.do("GET", "/v1/", nil), 200, "{}")
	f.want(f.do("GET", "/v2", nil), 200, "{}")
	f.want(f.do("GET", "/v1/_catalog", nil), 200, `{"repositories":[]}`)
	f.want(f.do("POST", "/health", nil), 405, "UNSUPPORTED")
	f.want(f.do("GET", "/v3/", nil), 404, "NOT_FOUND")
}

func TestManifestErrors(t *testing.T) {
	f := open0(t)
	f.want(f.do("PUT", "/v2/Up/manifests/t", strings.NewReader("{}")), 400, "NAME_INVALID")
	f.want(f.putManifest("/v2/a/manifests/"+strings.Repeat("x", 129), "{}"), 400, "TAG_INVALID")
	f.want(f.putManifest("/v2/a/manifests/t", "not json"), 400, "MANIFEST_INVALID")
	f.want(f.putManifest("/v2/a/manifests/t", `{"schemaVersion":2}`), 400, "MANIFEST_INVALID", "config")
	f.want(f.putManifest("/v2/a/manifests/t", `{"mediaType":"application/other"}`), 400, "MANIFEST_INVALID", "application/other")
	absent := digest.FromString("absent")
	f.want(f.putManifest("/v2/a/manifests/t", fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q}}`, absent)), 404, "MANIFEST_BLOB_UNKNOWN", absent.String())
	f.want(f.putManifest("/v2/a/manifests/t", `{"schemaVersion":2,"config":{"digest":"sha256:../../x"}}`), 400, "MANIFEST_INVALID", "no sha256")
	f.want(f.putManifest("/v2/a/manifests/"+absent.String(), "{}"), 400, "DIGEST_INVALID")
	f.want(f.putManifest("/v2/a/manifests/t", `{"a":"`+strings.Repeat("x", 5<<20)+`"}`), 413, "SIZE_INVALID")
	f.want(f.do("GET", "/v2/a/tags/list", nil), 404, "NAME_UNKNOWN")
	f.want(f.do("GET", "/v2/_catalog?n=-1", nil), 400, "PAGINATION_NUMBER_INVALID")
	f.want(f.do("GET", "/v2/_catalog?n=999999999999999999999", nil), 400, "PAGINATION_NUMBER_INVALID")
}

func TestPackDoor(t *testing.T) {
	f := open0(t)
	manifest := f.packManifest("demo", "1.0.0", nil)
	r := f.putManifest("/v1/demo/manifests/1.0.0", manifest)
	f.want(r, 201)
	d := digest.FromString(manifest)
	if got := r.Header.Get("Location"); got != "/v1/demo/manifests/"+d.String() {
		t.Errorf("Location %q", got)
	}
	f.want(f.do("GET", "/v1/_catalog", nil), 200, `{"repositories":["demo"]}`)
	f.want(f.do("GET", "/v2/_catalog", nil), 200, `{"repositories":["spectro-packs/archive/demo"]}`)
	f.want(f.do("GET", "/v1/demo/tags/list", nil), 200, `{"name":"demo","tags":["1.0.0","1.0.x","1.x"]}`)
	for _, path := range []string{"/v1/demo", "/v2/spectro-packs/archive/demo"} {
		for _, reference := range []string{"1.0.0", d.String()} {
			r := f.do("GET", path+"/manifests/"+reference, nil)
			if r.Header.Get("Docker-Content-Digest") != d.String() || r.Header.Get("Content-Type") != imageManifest {
				t.Errorf("%s: %v", path, r.Header)
			}
			f.want(r, 200, manifest)
		}
	}
	// The logo is a blob of its own, at its plain digest.
	logo := testpack.Files("demo", "1.0.0")["logo.png"]
	r = f.do("GET", "/v1/demo/blobs/"+digest.FromString(logo).String()+"?type=image/png", nil)
	if r.Header.Get("Content-Type") != "image/png" {
		t.Errorf("logo: %v", r.Header)
	}
	f.want(r, 200, logo)
	r = f.do("GET", "/v1/demo/blobs/"+digest.FromString(logo).String()+"?type=text/html", nil)
	if r.Header.Get("Content-Type") != "application/octet-stream" || r.Header.Get("Content-Disposition") != "attachment" {
		t.Errorf("a pack could run script: %v", r.Header)
	}
}

func TestTagsOfPacksDoNotMoveByAccident(t *testing.T) {
	f := open0(t)
	one := f.packManifest("demo", "1.0.0", nil)
	two := f.packManifest("demo", "1.0.0", map[string]string{"README.md": "changed"})
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", one), 201)
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", one), 201)
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", two), 409, "TAG_EXISTS")
	f.want(f.do("GET", "/v1/demo/manifests/1.0.0", nil), 200, one)
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", two, "Packregistry-Force", "true"), 201)
	f.want(f.do("GET", "/v1/demo/manifests/1.0.0", nil), 200, two)
	f.want(f.do("GET", "/v1/demo/manifests/"+digest.FromString(one).String(), nil), 200, one) // clusters pin digests
	// At /v2 tags move, as OCI clients expect.
	f.want(f.putManifest("/v2/spectro-packs/archive/demo/manifests/1.0.0", one), 201)
	f.want(f.putManifest("/v1/demo/manifests/stable", one), 201)
	f.want(f.putManifest("/v1/demo/manifests/1.x", one), 405, "parent tag")
	f.want(f.do("DELETE", "/v1/demo/manifests/1.x", nil), 405, "parent tag")
	f.want(f.do("DELETE", "/v1/demo/manifests/stable", nil), 202)
	f.want(f.do("GET", "/v1/demo/tags/list", nil), 200, `"tags":["1.0.0","1.0.x","1.x"]`)
}

func TestWhatIsNoPackIsRefused(t *testing.T) {
	f := open0(t)
	other := f.packManifest("other", "1.0.0", nil)
	f.packManifest("demo", "1.0.0", nil)
	for _, d := range []string{"{}"} {
		f.pushBlob("spectro-packs/archive/demo", d)
	}
	notAnArchive := f.pushBlob("spectro-packs/archive/demo", "hello")
	configBlob := digest.FromString("{}")
	manifestOf := func(layers string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"layers":[%s]}`, configBlob, layers)
	}
	for _, path := range []string{"/v1/demo/manifests/1.0.0", "/v2/spectro-packs/archive/demo/manifests/1.0.0"} {
		f.want(f.putManifest(path, manifestOf("")), 400, "exactly one layer")
		f.want(f.putManifest(path, manifestOf(fmt.Sprintf(`{"digest":%q}`, notAnArchive))), 400, "not a tar archive")
	}
	var m struct{ Layers []struct{ Digest string } }
	if err := json.Unmarshal([]byte(other), &m); err != nil {
		t.Fatal(err)
	}
	f.want(f.do("POST", "/v2/spectro-packs/archive/demo/blobs/uploads/?from=spectro-packs/archive/other&mount="+m.Layers[0].Digest, nil), 201)
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", other), 400, "pack.json#/name", `\"other\"`, `\"demo\"`)
	f.want(f.putManifest("/v1/other/manifests/2.0.0", other), 400, "pack.json#/version", "1.0.0")
	// What is elsewhere is no pack, and need not be.
	f.pushBlob("plain", "{}")
	f.want(f.putManifest("/v2/plain/manifests/t", manifestOf("")), 201)
}

func TestReferrersAndDeletion(t *testing.T) {
	f := open0(t)
	f.pushBlob("r", "{}")
	subject := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"c","digest":%q,"size":2},"layers":[]}`, digest.FromString("{}"))
	f.want(f.putManifest("/v2/r/manifests/t", subject), 201)
	of := digest.FromString(subject)
	artifact := fmt.Sprintf(`{"schemaVersion":2,"artifactType":"signature","config":{"mediaType":"c","digest":%q,"size":2},"layers":[],"subject":{"digest":%q,"size":1}}`, digest.FromString("{}"), of)
	r := f.putManifest("/v2/r/manifests/"+digest.FromString(artifact).String(), artifact)
	f.want(r, 201)
	if r.Header.Get("OCI-Subject") != of.String() {
		t.Errorf("OCI-Subject %q", r.Header.Get("OCI-Subject"))
	}
	f.want(f.do("GET", "/v2/r/referrers/"+of.String(), nil), 200, "signature", digest.FromString(artifact).String())
	r = f.do("GET", "/v2/r/referrers/"+of.String()+"?artifactType=other", nil)
	if r.Header.Get("OCI-Filters-Applied") != "artifactType" || strings.Contains(text(r), "signature") {
		t.Error("the filter was not applied")
	}
	f.want(f.do("DELETE", "/v2/r/manifests/"+of.String(), nil), 202)
	f.want(f.do("GET", "/v2/r/manifests/t", nil), 404, "MANIFEST_UNKNOWN")
	f.want(f.do("DELETE", "/v2/r/blobs/"+digest.FromString("{}").String(), nil), 202)
	f.want(f.do("GET", "/v2/r/blobs/"+digest.FromString("{}").String(), nil), 404, "BLOB_UNKNOWN")
}

func TestPages(t *testing.T) {
	f := open0(t)
	for i := range 5 {
		name := fmt.Sprintf("p%d", i)
		f.want(f.putManifest("/v1/"+name+"/manifests/1.0.0", f.packManifest(name, "1.0.0", nil)), 201)
		f.want(f.putManifest("/v2/spectro-packs/archive/p0/manifests/"+fmt.Sprintf("alias%d", i), f.packManifest("p0", "1.0.0", nil)), 201)
	}
	follow := func(path string) (n int) {
		for path != "" {
			r := f.do("GET", path, nil)
			n++
			link := r.Header.Get("Link")
			path, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
		}
		return n
	}
	for path, want := range map[string]int{
		"/v1/_catalog?n=2": 3, "/v2/_catalog?n=2": 3, "/v1/_catalog?n=5": 1, "/v1/_catalog?n=0": 1,
		"/v1/p0/tags/list?n=1": 8, "/v1/p0/tags/list": 1, "/v2/spectro-packs/archive/p0/tags/list?n=1": 6,
	} {
		if got := follow(path); got != want {
			t.Errorf("%s: %d pages, want %d", path, got, want)
		}
	}
	f.want(f.do("GET", "/v1/_catalog?n=2&last=p3", nil), 200, `["p4"]`)
}

func TestReadOnlyAndDeleteDisabled(t *testing.T) {
	f := start(t, inmemory.New(), ", maintenance: {readonly: {enabled: true}}}", nil)
	f.want(f.do("POST", "/v2/a/blobs/uploads/", nil), 405, "read-only")
	f = start(t, inmemory.New(), ", delete: {enabled: false}}", nil)
	f.want(f.do("POST", "/v2/a/blobs/uploads/", nil), 202)
	f.want(f.do("DELETE", "/v2/a/manifests/t", nil), 405, "storage.delete.enabled")
}

func TestPrefixAndHost(t *testing.T) {
	f := start(t, inmemory.New(), "}\nhttp: {prefix: /my/registry/, host: https://packs.example.com}", nil)
	f.want(f.do("GET", "/v2/", nil), 404)
	f.want(f.do("GET", "/my/registry/health", nil), 200)
	r := f.do("POST", "/my/registry/v2/a/blobs/uploads/", nil)
	f.want(r, 202)
	if got := r.Header.Get("Location"); !strings.HasPrefix(got, "https://packs.example.com/my/registry/v2/a/blobs/uploads/") {
		t.Errorf("Location %q", got)
	}
}

// A real client of another make: what it pushes it can pull.
func TestOrasClient(t *testing.T) {
	f := start(t, newFilesystem(t), "}", nil)
	repo, err := remote.NewRepository(strings.TrimPrefix(f.url, "http://") + "/some/artifact")
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	source := memory.New()
	layer, err := oras.PushBytes(t.Context(), source, "text/plain", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := oras.PackManifest(t.Context(), source, oras.PackManifestVersion1_1, "application/test", oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}})
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Tag(t.Context(), root, "v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := oras.Copy(t.Context(), source, "v1", repo, "v1", oras.DefaultCopyOptions); err != nil {
		t.Fatal(err)
	}
	pulled, err := oras.Copy(t.Context(), repo, "v1", memory.New(), "v1", oras.DefaultCopyOptions)
	if err != nil || pulled.Digest != root.Digest {
		t.Errorf("pulled %v, %v", pulled, err)
	}
}
