package server

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
)

// described is the description of the pack API, and what of it was seen.
type described struct {
	t    *testing.T
	doc  *openapi3.T
	seen map[string]bool
	// others are addresses of servers that are no registries.
	others []string
}

func openDescription(t *testing.T) *described {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &described{t: t, doc: doc, seen: map[string]bool{}}
}

// listPath is described by itself; the server has it as the file of no name.
const listPath = "/v1/{name}/files/{reference}/"

// describedPath is how the description writes a row of the routes' table.
func (row *route) describedPath() string { return strings.Replace(row.pattern, "{api}", "v1", 1) }

// RoundTrip sends a request to a registry and compares both sides with the description.
func (d *described) RoundTrip(r *http.Request) (*http.Response, error) {
	row, _, name, param, _ := match(r.Method, r.URL.Path)
	if row == nil || !strings.HasPrefix(r.URL.Path, "/v1") && r.URL.Path != "/health" && r.URL.Path != "/token" || slices.Contains(d.others, r.URL.Host) {
		return http.DefaultTransport.RoundTrip(r)
	}
	path := row.describedPath()
	if row.pattern == filesPattern && strings.HasSuffix(r.URL.Path, "/") {
		path = listPath
	}
	item := d.doc.Paths.Find(path)
	if item == nil || item.GetOperation(r.Method) == nil {
		return nil, fmt.Errorf("%s %s is not described", r.Method, path)
	}
	params := map[string]string{"name": name}
	for _, word := range []string{"reference", "digest", "id"} {
		params[word] = param
	}
	if row.pattern == filesPattern {
		params["reference"], params["path"], _ = strings.Cut(param, "/")
	}
	body := []byte{}
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params,
		Route:   &routers.Route{Spec: d.doc, Path: path, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true},
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	requestErr := openapi3filter.ValidateRequest(r.Context(), input)
	r.Body = io.NopCloser(bytes.NewReader(body))
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(text))
	what := fmt.Sprintf("%s %s: %s", r.Method, r.URL, response.Status)
	if requestErr != nil && response.StatusCode < 300 {
		d.t.Errorf("%s, which the description forbids: %v", what, requestErr)
	}
	key := fmt.Sprint(response.StatusCode)
	if input.Route.Operation.Responses.Value(key) == nil {
		key = "default"
	}
	d.seen[r.Method+" "+path+" "+key] = true
	// A body of another type than those that are described, and bytes that are no JSON, have no schema to fit.
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: response.StatusCode,
		Header: response.Header, Body: io.NopCloser(bytes.NewReader(text)), Options: input.Options})
	if err != nil {
		d.t.Errorf("%s, which the description does not have: %v\n%s", what, err, text)
	}
	return response, nil
}

// unseen lists the answers that are described and that nothing provoked.
func (d *described) unseen() []string {
	var list []string
	for path, item := range d.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if key := method + " " + path + " " + status; !d.seen[key] && status != "default" {
					list = append(list, key)
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

// Every route of the pack API is described, and nothing else is.
func TestTheDescriptionHasEveryRoute(t *testing.T) {
	d := openDescription(t)
	routed, written := []string{"GET " + listPath}, []string{}
	for _, row := range routes {
		routed = append(routed, row.method+" "+row.describedPath())
	}
	for path, item := range d.doc.Paths.Map() {
		for method := range item.Operations() {
			if method != http.MethodHead { // served wherever GET is
				written = append(written, method+" "+path)
			}
		}
	}
	slices.Sort(routed)
	slices.Sort(written)
	if !slices.Equal(routed, written) {
		t.Errorf("routes\n%s\ndescribed\n%s", strings.Join(routed, "\n"), strings.Join(written, "\n"))
	}
}

// Every answer that is described is given, in the form that is described.
func TestTheDescriptionIsTrue(t *testing.T) {
	d := openDescription(t)
	transport := http.DefaultClient.Transport
	http.DefaultClient.Transport = d
	redirect := http.DefaultClient.CheckRedirect
	http.DefaultClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() { http.DefaultClient.Transport, http.DefaultClient.CheckRedirect = transport, redirect })
	f := start(t, inmemory.New(), "}\nhttp: {limits: {manifestbytes: 20000}}", nil)
	f.want(f.do("GET", "/health", nil), 200)
	f.want(f.do("GET", "/v1/", nil), 200)
	describePacks(f)
	describeUploads(f)
	describeTokens(t)
	describeFailures(t, f, d)
	if unseen := d.unseen(); len(unseen) > 0 {
		t.Errorf("described, and never seen:\n%s", strings.Join(unseen, "\n"))
	}
}

const typeBytes = "application/octet-stream"

func describePacks(f *fixture) {
	first := f.packManifest("hello", "1.0.0", map[string]string{"deep/values.yaml": "a: 1\n", "notes.txt": "x", "page.html": "<p>"})
	put := f.putManifest("/v1/hello/manifests/1.0.0", first)
	f.want(put, 201)
	d := put.Header.Get("Docker-Content-Digest")
	second := f.packManifest("hello", "1.1.0", nil)
	f.want(f.putManifest("/v1/hello/manifests/1.1.0", second), 201)
	changed := f.packManifest("hello", "1.0.0", nil)
	f.want(f.putManifest("/v1/hello/manifests/1.0.0", changed), 409, "TAG_EXISTS")
	f.want(f.putManifest("/v1/hello/manifests/1.0.0", changed, forceHeader, "true"), 201)
	f.want(f.putManifest("/v1/hello/manifests/1.0.0", first, forceHeader, "true"), 201)
	f.want(f.putManifest("/v1/hello/manifests/"+d+"?tag=stable&tag=beta", first), 201)
	f.want(f.putManifest("/v1/hello/manifests/2.x", first), 405, "parent tag")
	f.want(f.putManifest("/v1/hello/manifests/3.0.0", "{"), 400, "MANIFEST_INVALID")
	f.want(f.putManifest("/v1/hello/manifests/3.0.0", strings.Replace(first, `"layers"`, `"annotations":{"filler":"`+strings.Repeat("x", 20_000)+`"},"layers"`, 1)), 413, "SIZE_INVALID")
	unknown := strings.Replace(first, digest.FromString("{}").String(), digest.FromString("none").String(), 1)
	f.want(f.putManifest("/v1/hello/manifests/3.0.0", unknown), 404, "MANIFEST_BLOB_UNKNOWN")
	subject := fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":%d}}`, imageManifest, d, len(first))
	signature := strings.TrimSuffix(first, "}") + subject
	f.want(f.putManifest("/v1/hello/manifests/"+digest.FromString(signature).String(), signature), 201)

	f.want(f.do("GET", "/v1/_catalog", nil), 200, `"hello"`)
	index := f.do("GET", "/v1/_index", nil)
	f.want(index, 200, `"hello"`, `"tag":"1.1.0"`)
	f.want(f.do("GET", "/v1/_index", nil, "If-None-Match", index.Header.Get("ETag")), 304)
	f.want(f.do("GET", "/v1/_catalog?n=x", nil), 400, "PAGINATION")
	f.want(f.do("GET", "/v1/hello/tags/list?n=1&last=1.0.0", nil), 200)
	f.want(f.do("GET", "/v1/none/tags/list", nil), 404, "NAME_UNKNOWN")
	f.want(f.do("GET", "/v1/hello/manifests/1.x", nil), 200)
	f.want(f.do("GET", "/v1/hello/manifests/1.0.0", nil, "Range", "bytes=0-9"), 206)
	f.want(f.do("GET", "/v1/hello/manifests/1.0.0", nil, "If-None-Match", `"`+d+`"`), 304)
	f.want(f.do("GET", "/v1/hello/manifests/9.9.9", nil), 404, "MANIFEST_UNKNOWN")
	f.want(f.do("HEAD", "/v1/hello/manifests/1.0.0", nil), 200)
	f.want(f.do("HEAD", "/v1/hello/manifests/9.9.9", nil), 404)
	f.want(f.do("GET", "/v1/hello/referrers/"+d, nil), 200, digest.FromString(signature).String())
	f.want(f.do("GET", "/v1/hello/referrers/"+d+"?artifactType=a/b", nil), 200)
	f.want(f.do("GET", "/v1/hello/referrers/sha256:1", nil), 400, "DIGEST_INVALID")
	for _, path := range []string{"", "pack.json", "deep/values.yaml", "notes.txt", "page.html", "logo.png"} {
		f.want(f.do("GET", "/v1/hello/files/1.0.0/"+path, nil), 200)
	}
	f.want(f.do("GET", "/v1/hello/files/1.0.0/pack.json", nil, "If-None-Match", `"`+d+`"`), 304)
	f.want(f.do("GET", "/v1/hello/files/1.0.0/none", nil), 404)
	f.want(f.do("GET", "/v1/hello/files/1.0.0/", nil, "If-None-Match", `"`+d+`"`), 304)
	f.want(f.do("GET", "/v1/hello/files/9.9.9/", nil), 404)

	f.want(f.do("DELETE", "/v1/hello/manifests/1.x", nil), 405)
	f.want(f.do("DELETE", "/v1/hello/manifests/1.1.0", nil), 202)
	f.want(f.do("DELETE", "/v1/hello/manifests/1.1.0", nil), 404)
	f.want(f.do("DELETE", "/v1/hello/manifests/"+d, nil), 202)
}

func describeUploads(f *fixture) {
	const content = "0123456789"
	d := digest.FromString(content).String()
	blob := "/v1/hello/blobs/" + d
	begin := func() string {
		r := f.do("POST", "/v1/hello/blobs/uploads/", nil)
		f.want(r, 202)
		return r.Header.Get("Location")
	}
	f.want(f.do("GET", blob, nil), 404, "BLOB_UNKNOWN")
	f.want(f.do("HEAD", blob, nil), 404)
	at := begin()
	f.want(f.do("PATCH", at, strings.NewReader("01234"), "Content-Range", "0-4", "Content-Type", typeBytes), 202)
	f.want(f.do("PATCH", at, strings.NewReader("01234"), "Content-Range", "0-4"), 416, "RANGE_INVALID")
	f.want(f.do("GET", at, nil), 204)
	f.want(f.do("PUT", at+"?digest="+d, strings.NewReader("56789"), "Content-Range", "7-11"), 416)
	f.want(f.do("PUT", at+"?digest="+d, strings.NewReader("56789"), "Content-Range", "5-9", "Content-Type", typeBytes), 201)
	f.want(f.do("GET", at, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	f.want(f.do("PATCH", at, strings.NewReader("x")), 404)
	f.want(f.do("PUT", at+"?digest="+d, nil), 404)
	f.want(f.do("DELETE", at, nil), 404)
	f.want(f.do("PUT", begin()+"?digest="+d, strings.NewReader("other")), 400, "DIGEST_INVALID")
	f.want(f.do("DELETE", begin(), nil), 204)
	f.want(f.do("POST", "/v1/other/blobs/uploads/?digest="+d, strings.NewReader(content), "Content-Type", typeBytes), 201)
	f.want(f.do("POST", "/v1/third/blobs/uploads/?from=hello&mount="+d, nil), 201)
	f.want(f.do("POST", "/v1/third/blobs/uploads/?from=hello&mount="+digest.FromString("none").String(), nil), 202)
	f.want(f.do("POST", "/v1/third/blobs/uploads/?digest=x", nil), 400)

	got := f.do("GET", blob, nil)
	f.want(got, 200, content)
	f.want(f.do("GET", blob+"?type=image/png", nil), 200)
	f.want(f.do("HEAD", blob, nil), 200)
	f.want(f.do("GET", blob, nil, "Range", "bytes=2-3"), 206, "23")
	f.want(f.do("GET", blob, nil, "Range", "bytes=20-30"), 416)
	f.want(f.do("GET", blob, nil, "If-None-Match", `"`+d+`"`), 304)
	f.want(f.do("DELETE", blob, nil), 202)
	f.want(f.do("DELETE", blob, nil), 404)
}

func describeTokens(t *testing.T) {
	f, _ := serve(t, fmt.Sprintf(tokenConfig, usersFile(t, "ann")))
	form := func(text string) *http.Response {
		return f.do("POST", "/token", strings.NewReader(text), "Content-Type", formType)
	}
	f.want(f.do("GET", "/token?service=x&scope=repository:team/x:pull&scope=registry:catalog:*", nil, basic("ann")...), 200)
	f.want(f.do("GET", "/token", nil), 200)
	f.want(f.do("GET", "/token", nil, "Authorization", "Basic YW5uOndyb25n"), 401)
	f.want(form("grant_type=password&username=ann&password=ann&scope=repository:team/x:pull"), 200)
	f.want(form("grant_type=password&username=ann&password=wrong"), 401)
	f.want(form("grant_type=refresh_token"), 400, "TOKEN_REQUEST_INVALID")
}

// describeFailures provokes what needs a storage of its own: one that fails, and one that redirects.
func describeFailures(t *testing.T, f *fixture, described *described) {
	dir := filepath.Join(t.TempDir(), "store")
	d, err := filesystem.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	failing := start(t, d, "}\nhealth: {storagedriver: {threshold: 1}}", nil)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	failing.health.Check(t.Context())
	f.want(failing.do("GET", "/health", nil), 503, "DOWN")

	addr := testserver.FreeAddr(t)
	described.others = append(described.others, addr)
	s3 := testserver.StartS3In(t, t.TempDir(), addr)
	redirecting, _ := serve(t, fmt.Sprintf("version: 0.1\nstorage: {s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}, redirect: {disable: false}}\n",
		s3.Bucket(t), s3.Endpoint, s3.AccessKey, s3.SecretKey))
	blob := redirecting.pushBlob("spectro-packs/archive/hello", "content")
	r := redirecting.do("GET", "/v1/hello/blobs/"+blob.String(), nil)
	f.want(r, 307)
	if u, err := url.Parse(r.Header.Get("Location")); err != nil || u.Host != s3.Addr {
		t.Errorf("%v, %v", u, err)
	}
}
