package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/bcrypt"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testserver"
	"packregistry.dev/pack"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/store/driver/instrumented"
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

func TestUploads(t *testing.T) {
	for name, d := range map[string]driver.Driver{"inmemory": inmemory.New(), "filesystem": newFilesystem(t)} {
		t.Run(name, func(t *testing.T) { testUploads(t, start(t, d, "}", nil)) })
	}
}

func newFilesystem(t *testing.T) driver.Driver {
	t.Helper()
	d, err := filesystem.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func testUploads(t *testing.T, f *fixture) {
	d := digest.FromString("hello world")
	r := f.do("POST", "/v2/a/b/blobs/uploads/", nil)
	f.want(r, 202)
	at := r.Header.Get("Location")
	if !strings.HasPrefix(at, "/v2/a/b/blobs/uploads/") {
		t.Fatalf("Location %q is not relative to the host", at)
	}
	r = f.do("PATCH", at, strings.NewReader("hello "), "Content-Range", "0-5")
	f.want(r, 202)
	if got := r.Header.Get("Range"); got != "0-5" {
		t.Errorf("Range %q", got)
	}
	f.want(f.do("PATCH", at, strings.NewReader("x"), "Content-Range", "9-9"), 416, "RANGE_INVALID")
	r = f.do("GET", at, nil)
	f.want(r, 204)
	if got := r.Header.Get("Range"); got != "0-5" {
		t.Errorf("status says %q", got)
	}
	f.want(f.do("PUT", at+"?digest=sha256:bad", strings.NewReader("world")), 400, "DIGEST_INVALID")
	f.want(f.do("PUT", at+"?digest="+d.String(), strings.NewReader("world")), 201)
	f.want(f.do("GET", "/v2/a/b/blobs/"+d.String(), nil), 200, "hello world")
	f.want(f.do("GET", "/v2/a/b/blobs/"+d.String(), nil, "Range", "bytes=6-"), 206, "world")
	f.want(f.do("GET", "/v2/a/b/blobs/"+d.String(), nil, "If-None-Match", `"`+d.String()+`"`), 304)
	f.want(f.do("GET", at, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	f.want(f.do("GET", "/v2/a/c/blobs/"+d.String(), nil), 404, "BLOB_UNKNOWN")
	f.want(f.do("POST", "/v2/a/c/blobs/uploads/?from=a/b&mount="+d.String(), nil), 201)
	f.want(f.do("GET", "/v2/a/c/blobs/"+d.String(), nil), 200)
	for _, from := range []string{"a/none", "Up/Case", "..", "a//b", "%20", strings.Repeat("x", 300)} { // an upload instead
		f.want(f.do("POST", "/v2/a/c/blobs/uploads/?from="+from+"&mount="+d.String(), nil), 202)
		f.want(f.do("POST", "/v1/c/blobs/uploads/?from="+from+"&mount="+d.String(), nil), 202)
	}
	f.want(f.do("POST", "/v2/a/b/blobs/uploads/?digest="+digest.FromString("other").String(), strings.NewReader("content")), 400, "DIGEST_INVALID")

	r = f.do("POST", "/v2/a/b/blobs/uploads/", nil)
	f.want(f.do("DELETE", r.Header.Get("Location"), nil), 204)
	f.want(f.do("PATCH", r.Header.Get("Location"), strings.NewReader("x")), 404, "BLOB_UPLOAD_UNKNOWN")
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

func newUsers(t *testing.T) *auth.HTPasswd {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), 4)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte("ann:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := auth.OpenHTPasswd(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return users
}

func TestAuthentication(t *testing.T) {
	f := start(t, inmemory.New(), "}", newUsers(t))
	f.want(f.do("GET", "/health", nil), 200)
	// Every route but /health asks, the ones that do not exist below an API included only once they match.
	for _, row := range routes {
		if row.needs == open {
			continue
		}
		path := strings.NewReplacer("{api}", "v2", "{name}", "a", "{reference}", "t", "{digest}", "sha256:x", "{id}", "x").Replace(row.pattern)
		r := f.do(row.method, path, nil)
		if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), `Basic realm="test"`) {
			t.Errorf("%s %s: %v", row.method, path, r.Header)
		}
		f.want(r, 401, "UNAUTHORIZED")
	}
	as := func(user, password string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/v1/_catalog", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, password)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	for credential, want := range map[[2]string]int{{"ann", "secret"}: 200, {"ann", "wrong"}: 401, {"bob", "secret"}: 401} {
		if got := as(credential[0], credential[1]).StatusCode; got != want {
			t.Errorf("%v: %d", credential, got)
		}
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

// newCertificate writes a certificate for localhost and returns its pool.
// lockedLog is a log that can be read while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lockedLog) Len() int { return len(l.String()) }

func (l *lockedLog) says(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), words)
}

// run starts a whole server in memory, listeners and all, and returns its address, its log and what stops it.
func run(t *testing.T, more string) (address string, log *lockedLog, stop func() error) {
	t.Helper()
	return runConfig(t, "version: 0.1\nstorage: inmemory\n"+more)
}

func runConfig(t *testing.T, text string) (address string, log *lockedLog, stop func() error) {
	t.Helper()
	c, _, err := config.Parse([]byte(text), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log = &lockedLog{}
	s, err := Open(t.Context(), c, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	listening, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() { done <- s.Run(ctx, func(a net.Addr) { listening <- a }) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { stop() }) //nolint:errcheck // tests that care call it
	select {
	case a := <-listening:
		return a.String(), log, stop
	case err := <-done:
		t.Fatal(err)
		return "", nil, nil
	}
}

func TestCertificateIsReloadedWithoutDroppingConnections(t *testing.T) {
	dir := t.TempDir()
	first := testserver.Certificate(t, dir, "tls.crt", "tls.key", "localhost", "first")
	address, log, _ := run(t, fmt.Sprintf("http: {addr: 'localhost:0', tls: {certificate: %[1]s/tls.crt, key: %[1]s/tls.key}}", dir))
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	client := func(pool *x509.CertPool) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	get := func(c *http.Client) error {
		r, err := c.Get("https://localhost:" + port + "/health")
		if err == nil {
			io.Copy(io.Discard, r.Body) //nolint:errcheck // so that the connection is used again
			r.Body.Close()
		}
		return err
	}
	standing := client(first)
	if err := get(standing); err != nil {
		t.Fatal(err)
	}
	second := testserver.Certificate(t, dir, "tls.crt", "tls.key", "localhost", "second")
	deadline := time.Now().Add(10 * time.Second)
	for get(client(second)) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate was never served")
		}
	}
	if err := get(standing); err != nil {
		t.Errorf("the connection that stood was dropped: %v", err)
	}
	// A pair that does not match leaves the last good one, and is logged.
	if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the broken pair is noticed", 10*time.Second, func() bool { return log.says("cannot use the changed certificate") })
	if err := get(client(second)); err != nil {
		t.Errorf("a broken pair took the good one away: %v", err)
	}
}

func TestDrainingFinishesWhatIsInFlight(t *testing.T) {
	address, _, stop := run(t, "http: {addr: '127.0.0.1:0', draintimeout: 10s}")
	response, err := http.Post("http://"+address+"/v2/a/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	body, feed := io.Pipe()
	r, err := http.NewRequest(http.MethodPut, "http://"+address+response.Header.Get("Location")+"?digest="+digest.FromString("begin and end").String(), body)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan string, 1)
	go func() {
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			result <- err.Error()
			return
		}
		response.Body.Close()
		result <- response.Status
	}()
	if _, err := io.WriteString(feed, "begin and "); err != nil { // the server reads: the request is in flight
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	deadline := time.Now().Add(10 * time.Second)
	for { // until nothing is accepted any more
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("new connections are still accepted")
		}
	}
	if _, err := io.WriteString(feed, "end"); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	if got := <-result; got != "201 Created" {
		t.Errorf("the upload in flight: %s", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestRouting(t *testing.T) {
	for _, tt := range []struct{ method, path, pattern, name, param string }{
		{"GET", "/v2/a/b/c/manifests/t", "/{api}/{name}/manifests/{reference}", "a/b/c", "t"},
		{"HEAD", "/v2/blobs/blobs/sha256:x", "/{api}/{name}/blobs/{digest}", "blobs", "sha256:x"},
		{"GET", "/v2/blobs/uploads/manifests/tags/list", "/{api}/{name}/tags/list", "blobs/uploads/manifests", ""},
		{"POST", "/v1/a/blobs/uploads/", "/{api}/{name}/blobs/uploads/", "a", ""},
		{"PUT", "/v1/a/blobs/uploads/abc", "/{api}/{name}/blobs/uploads/{id}", "a", "abc"},
		{"GET", "/v2//manifests/t", "", "", ""},
		{"GET", "/v2/a/manifests/", "", "", ""},
		{"GET", "/v2/manifests/t", "", "", ""},
		{"GET", "/", "", "", ""},
	} {
		row, _, name, param, _ := match(tt.method, tt.path)
		pattern := ""
		if row != nil {
			pattern = row.pattern
		}
		if pattern != tt.pattern || name != tt.name || param != tt.param {
			t.Errorf("%s %s: %q %q %q", tt.method, tt.path, pattern, name, param)
		}
	}
}

func FuzzPaths(f *testing.F) {
	f.Add("GET", "/v2/a/manifests/t")
	f.Add("GET", "/v1/../../x/blobs/sha256:y")
	f.Fuzz(func(t *testing.T, method, path string) {
		testfuzz.Proportionate(t, len(path), func() { match(method, path) })
		row, api, name, param, _ := match(method, path)
		if row == nil {
			return
		}
		// What was taken out of the path fits back into it.
		want := strings.NewReplacer("{api}", api, "{name}", name, "{reference}", param, "{digest}", param, "{id}", param).Replace(row.pattern)
		if path != want && path+"/" != want || strings.Contains(param, "/") {
			t.Errorf("%s is read as %s", path, want)
		}
	})
}

// quiet is an http.ResponseWriter that costs next to nothing, so that what is measured is the registry's own work.
type quiet struct {
	header http.Header
	status int
}

func (w *quiet) Header() http.Header              { return w.header }
func (w *quiet) WriteHeader(status int)           { w.status = status }
func (w *quiet) Write(p []byte) (int, error)      { return len(p), nil }
func (w *quiet) SetWriteDeadline(time.Time) error { return nil }
func (w *quiet) SetReadDeadline(time.Time) error  { return nil }

func BenchmarkGetManifest(b *testing.B) {
	for name, open := range map[string]func() (driver.Driver, error){
		"filesystem": func() (driver.Driver, error) { return filesystem.New(b.TempDir()) },
		"inmemory":   func() (driver.Driver, error) { return inmemory.New(), nil },
	} {
		b.Run(name, func(b *testing.B) {
			d, err := open()
			if err != nil {
				b.Fatal(err)
			}
			benchmarkGetManifest(b, d, http.MethodGet)
		})
		b.Run(name+" HEAD", func(b *testing.B) {
			d, err := open()
			if err != nil {
				b.Fatal(err)
			}
			benchmarkGetManifest(b, d, http.MethodHead)
		})
	}
}

func benchmarkGetManifest(b *testing.B, d driver.Driver, method string) {
	c, _, err := config.Parse([]byte("version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: inmemory\n"), config.Options{})
	if err != nil {
		b.Fatal(err)
	}
	m := telemetry.NewMetrics()
	s, err := store.Open(b.Context(), instrumented.New(d, m.StorageOperation))
	if err != nil {
		b.Fatal(err)
	}
	r := s.Repository("r")
	content := []byte(`{"schemaVersion":2}`)
	put := store.PutManifest{Digest: digest.FromBytes(content), MediaType: imageManifest, Content: content}
	if err := errors.Join(r.PutManifest(b.Context(), put), r.Tag(b.Context(), "t", put.Digest, "", true)); err != nil {
		b.Fatal(err)
	}
	server := newServer(c, s, nil, m, slog.New(slog.DiscardHandler))
	request := httptest.NewRequest(method, "/v2/r/manifests/t", nil)
	w := &quiet{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		w.status = 0
		server.ServeHTTP(w, request)
		if w.header["Docker-Content-Digest"] == nil {
			b.Fatal(w.status, w.header)
		}
	}
}
