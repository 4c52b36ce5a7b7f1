package server

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store/driver/inmemory"
)

const prodPaths = "}\npacks: {basepaths: [prod, team/b]}\n"

// Every route of a repository works below a base path, on the same repository, and answers with the name that was asked for.
func TestABasePathIsAnotherNameOfPacks(t *testing.T) {
	f := start(t, inmemory.New(), prodPaths, nil)
	const own, alias, other = "/v2/spectro-packs/archive/demo", "/v2/prod/spectro-packs/archive/demo", "/v2/team/b/spectro-packs/archive/demo"
	manifest := f.packManifest("demo", "1.0.0", nil) // its blobs are pushed by the own name
	d := digest.FromString(manifest)
	signature := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":%d}}`,
		imageManifest, digest.FromString("{}"), imageManifest, d, len(manifest))
	signed := digest.FromString(signature)
	blob := func(content string) string { return "/blobs/" + digest.FromString(content).String() }
	var upload string
	for _, step := range []struct {
		method, path, body string
		status             int
		location, want     string
	}{
		{"PUT", alias + "/manifests/1.0.0", manifest, 201, alias + "/manifests/" + d.String(), ""},
		{"GET", own + "/manifests/1.0.0", "", 200, "", manifest},
		{"GET", "/v1/demo/manifests/1.0.0", "", 200, "", manifest},
		{"GET", other + "/manifests/" + d.String(), "", 200, "", manifest},
		{"HEAD", alias + "/manifests/1.0.0", "", 200, "", ""},
		{"GET", alias + "/tags/list", "", 200, "", `{"name":"prod/spectro-packs/archive/demo","tags":["1.0.0"]}`},
		{"POST", alias + "/blobs/uploads/?digest=" + digest.FromString("{}").String(), "{}", 201, alias + blob("{}"), ""},
		{"GET", own + blob("{}"), "", 200, "", "{}"},
		{"GET", other + blob("{}"), "", 200, "", "{}"},
		{"HEAD", alias + blob("{}"), "", 200, "", ""},
		{"POST", alias + "/blobs/uploads/", "", 202, alias + "/blobs/uploads/", ""},
		{"PATCH", "upload", "part", 202, alias + "/blobs/uploads/", ""},
		{"GET", "upload", "", 204, alias + "/blobs/uploads/", ""},
		{"PUT", "upload?digest=" + digest.FromString("parted").String(), "ed", 201, alias + blob("parted"), ""},
		{"GET", own + blob("parted"), "", 200, "", "parted"},
		{"POST", alias + "/blobs/uploads/", "", 202, alias + "/blobs/uploads/", ""},
		{"DELETE", "upload", "", 204, "", ""},
		{"POST", "/v2/prod/spectro-packs/archive/copy/blobs/uploads/?from=spectro-packs/archive/demo&mount=" + digest.FromString("parted").String(), "", 201,
			"/v2/prod/spectro-packs/archive/copy" + blob("parted"), ""},
		{"POST", "/v2/elsewhere/blobs/uploads/?from=prod/spectro-packs/archive/demo&mount=" + digest.FromString("parted").String(), "", 201, "/v2/elsewhere" + blob("parted"), ""},
		{"DELETE", alias + blob("parted"), "", 202, "", ""},
		{"GET", own + blob("parted"), "", 404, "", "BLOB_UNKNOWN"},
		{"PUT", other + "/manifests/" + signed.String(), signature, 201, other + "/manifests/" + signed.String(), ""},
		{"GET", alias + "/referrers/" + d.String(), "", 200, "", signed.String()},
		{"GET", own + "/referrers/" + d.String(), "", 200, "", signed.String()},
		// Packs are validated, and versions' tags bound, as below the own path.
		{"PUT", alias + "/manifests/2.0.0", manifest, 400, "", "1.0.0"},
		{"PUT", alias + "/manifests/1.x", manifest, 405, "", "parent tag"},
		{"PUT", "/v2/prod/spectro-packs/archive/web/manifests/1.0.0", manifest, 404, "", "MANIFEST_BLOB_UNKNOWN"},
		{"PUT", alias + "/manifests/stable", manifest, 201, alias + "/manifests/" + d.String(), ""},
		{"DELETE", other + "/manifests/stable", "", 202, "", ""},
		{"GET", own + "/manifests/stable", "", 404, "", "MANIFEST_UNKNOWN"},
		{"DELETE", alias + "/manifests/" + d.String(), "", 202, "", ""},
		{"GET", own + "/manifests/1.0.0", "", 404, "", "MANIFEST_UNKNOWN"},
		// The archive's own repository, which some clients push to first.
		{"PUT", "/v2/prod/spectro-packs/archive/manifests/latest", `{"schemaVersion":2,"mediaType":"` + imageIndex + `","manifests":[]}`, 201, "/v2/prod/spectro-packs/archive/manifests/", ""},
		{"GET", "/v2/spectro-packs/archive/manifests/latest", "", 200, "", "schemaVersion"},
		// What only resembles a base path is none, and nothing else can be pushed below one.
		{"GET", "/v2/prod2/spectro-packs/archive/demo/tags/list", "", 404, "", "NAME_UNKNOWN"},
		{"GET", "/v2/prod/prod/spectro-packs/archive/demo/tags/list", "", 404, "", "NAME_UNKNOWN"},
		{"GET", "/v1/prod/spectro-packs/archive/demo/tags/list", "", 404, "", "NAME_UNKNOWN"},
		{"GET", "/v2/prod/spectro-packs/archive//demo/tags/list", "", 400, "", "NAME_INVALID"},
		{"POST", "/v2/prod/charts/x/blobs/uploads/", "", 400, "", "prod is a base path (packs.basepaths)"},
		{"PUT", "/v2/team/b/spectro-packs/archived/manifests/v1", "{}", 400, "", "push them to team/b/spectro-packs/archive/"},
		{"POST", "/v2/team/c/blobs/uploads/", "", 202, "/v2/team/c/", ""},
	} {
		path := strings.Replace(step.path, "upload", upload, 1)
		if !strings.HasPrefix(step.path, "upload") {
			path = step.path
		}
		mediaType := "application/octet-stream"
		if strings.Contains(path, "/manifests/") {
			mediaType = imageManifest
			if strings.Contains(step.body, imageIndex) {
				mediaType = imageIndex
			}
		}
		r := f.do(step.method, path, strings.NewReader(step.body), "Content-Type", mediaType)
		body := text(r)
		if r.StatusCode != step.status || !strings.Contains(body, step.want) || !strings.HasPrefix(r.Header.Get("Location"), step.location) || step.location == "" && r.Header.Get("Location") != "" {
			t.Fatalf("%s %s: %s, Location %q, %s\nwant %d, %q, %s", step.method, path, r.Status, r.Header.Get("Location"), body, step.status, step.location, step.want)
		}
		if r.StatusCode == http.StatusAccepted && step.location != "" {
			upload = r.Header.Get("Location")
		}
	}
	if metrics := testserver.Scrape(t, f.metrics.Handler()); strings.Contains(metrics, "prod") || !strings.Contains(metrics, "/{api}/{name}/manifests/{reference}") {
		t.Errorf("names are in labels of metrics: %s", metrics)
	}
}

// names follows a catalog to its end.
func (f *fixture) names(path string, headers ...string) (all []string) {
	f.t.Helper()
	for pages := 0; path != ""; pages++ {
		if pages > 100 {
			f.t.Fatal("there is no end")
		}
		r := f.do("GET", path, nil, headers...)
		var page struct{ Repositories []string }
		if err := json.Unmarshal([]byte(text(r)), &page); err != nil || r.StatusCode != http.StatusOK {
			f.t.Fatalf("%s: %s, %v", path, r.Status, err)
		}
		all = append(all, page.Repositories...)
		path = ""
		if m := nextLink.FindStringSubmatch(r.Header.Get("Link")); m != nil {
			path = m[1]
		}
	}
	return all
}

func (f *fixture) pushIndexes(names ...string) {
	f.t.Helper()
	for _, name := range names {
		f.want(f.do("PUT", "/v2/"+name+"/manifests/v1", strings.NewReader(`{"schemaVersion":2,"mediaType":"`+imageIndex+`","manifests":[]}`), "Content-Type", imageIndex), 201)
	}
}

// The catalog has packs by all their names, in order, in pages of any size.
func TestTheCatalogHasNamesBelowBasePaths(t *testing.T) {
	d := &countingDriver{Driver: inmemory.New()}
	f := start(t, d, "}\npacks: {validation: 'off', basepaths: [zz, prod, prod-b, spectro-packs2, a/b, a]}\n", nil)
	own := []string{"prod", "prod-c/x", "prod.d/x", "spectro-packs/other", "spectro-packs/archive-x/y", "tools", "zzz"}
	want := slices.Clone(own)
	for i := range 7 {
		name := fmt.Sprintf("spectro-packs/archive/p%d", i)
		own = append(own, name)
		want = append(want, name)
		for _, base := range []string{"zz", "prod", "prod-b", "spectro-packs2", "a/b", "a"} {
			want = append(want, base+"/"+name)
		}
	}
	f.pushIndexes(own...)
	slices.Sort(want)
	for _, n := range []int{1, 2, 3, 5, 7, 8, 20, 55, 56, 57, 1000} {
		if got := f.names("/v2/_catalog?n=" + strconv.Itoa(n)); !slices.Equal(got, want) {
			t.Errorf("in pages of %d:\n%v\nwant\n%v", n, got, want)
		}
	}
	for i, last := range want {
		if got := f.names("/v2/_catalog?n=10&last=" + last); !slices.Equal(got, want[i+1:]) {
			t.Errorf("after %s: %v", last, got)
		}
	}
	for last, next := range map[string]string{"prod/": "prod/spectro-packs/archive/p0", "prod/spectro-packs/archive/": "prod/spectro-packs/archive/p0", "prod/spectro-packs/archive/p3x": "prod/spectro-packs/archive/p4",
		"prod/t": "spectro-packs/archive-x/y", "a": "a/b/spectro-packs/archive/p0", "a/c": "a/spectro-packs/archive/p0"} {
		if got := f.names("/v2/_catalog?n=100&last=" + last); len(got) == 0 || got[0] != next {
			t.Errorf("after %s: %v, want %s first", last, got, next)
		}
	}
	if got := f.names("/v1/_catalog"); len(got) != 7 || got[0] != "p0" {
		t.Errorf("/v1: %v", got)
	}
	before := d.listed.Load()
	f.do("GET", "/v2/_catalog?n=3", nil)
	if read := d.listed.Load() - before; read > 3*4 {
		t.Errorf("%d names were read for a page of 3", read)
	}
}

const basePathRules = `
version: 0.1
storage: inmemory
packs: {validation: 'off', basepaths: [prod, team]}
auth:
  htpasswd: {path: %s}
  access:
    rules:
    - {users: ann, repositories: "spectro-packs/archive/web-*", actions: [pull, push, delete]}
    - {users: eve, repositories: ["prod/**", "team/**", "*/spectro-packs/archive/*"], actions: [pull, push, delete]}
    - {users: root, repositories: "**", actions: [pull, push, delete]}
    - {anonymous: true, repositories: "spectro-packs/archive/open-*", actions: pull}
`

// Rights go by a pack's own name, whatever name it is asked by.
func TestRightsBelowBasePaths(t *testing.T) {
	f, log := serve(t, fmt.Sprintf(basePathRules, usersFile(t, "ann", "eve", "root")))
	f.config.HTTP.Host = f.url
	names := []string{"web-a", "db-a", "open-a"}
	for _, name := range names {
		d := f.pushBlobAs("root", "prod/spectro-packs/archive/"+name, "{}")
		m := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[]}`, imageManifest, d)
		f.want(f.do("PUT", "/v2/team/spectro-packs/archive/"+name+"/manifests/v1", strings.NewReader(m), append(basic("root"), "Content-Type", imageManifest)...), 201)
	}
	if !log.says("repository=spectro-packs/archive/db-a") || log.says("repository=team/") {
		t.Errorf("the audit log has other names: %s", log.String())
	}
	for _, base := range []string{"", "prod/", "team/"} {
		for _, tt := range []struct {
			user, name, method string
			want               int
		}{
			{"ann", "web-a", "GET", 200}, {"ann", "db-a", "GET", 403}, {"ann", "open-a", "GET", 200}, {"", "open-a", "GET", 200}, {"", "web-a", "GET", 401},
			{"eve", "web-a", "GET", 403}, {"eve", "db-a", "DELETE", 403}, {"eve", "open-a", "DELETE", 403},
		} {
			path := "/v2/" + base + "spectro-packs/archive/" + tt.name + "/manifests/v1"
			if r := f.do(tt.method, path, nil, basic(tt.user)...); r.StatusCode != tt.want {
				t.Errorf("%q: %s %s: %s, want %d", tt.user, tt.method, path, r.Status, tt.want)
			}
		}
		name := base + "spectro-packs/archive/"
		if r := f.do("POST", "/v2/"+name+"web-b/blobs/uploads/?from=team/spectro-packs/archive/db-a&mount="+digest.FromString("{}").String(), nil, basic("ann")...); r.StatusCode != http.StatusAccepted {
			t.Errorf("mounted from what may not be read: %s", r.Status)
		}
		if r := f.do("POST", "/v2/"+name+"web-b/blobs/uploads/?from=team/spectro-packs/archive/web-a&mount="+digest.FromString("{}").String(), nil, basic("ann")...); r.StatusCode != http.StatusCreated {
			t.Errorf("not mounted: %s", r.Status)
		}
		// Tokens are for a repository, by any of its names.
		f.wantChallenge(f.do("GET", "/v2/"+name+"web-a/manifests/v1", nil), `scope="repository:`+name+`web-a:pull"`)
		f.wantChallenge(f.do("POST", "/v2/"+name+"web-a/blobs/uploads/?mount=x&from=prod/spectro-packs/archive/web-b", nil), `scope="repository:`+name+`web-a:pull,push repository:prod/spectro-packs/archive/web-b:pull"`)
		token := bearer(f.token("ann", "repository:"+name+"web-a:pull repository:"+name+"db-a:pull"))
		f.want(f.do("GET", "/v2/"+name+"web-a/manifests/v1", nil, token...), 200)
		f.want(f.do("GET", "/v2/prod/spectro-packs/archive/web-a/manifests/v1", nil, token...), 200)
		f.want(f.do("GET", "/v2/spectro-packs/archive/web-a/manifests/v1", nil, token...), 200)
		f.want(f.do("GET", "/v2/"+name+"db-a/manifests/v1", nil, token...), 403)
		f.want(f.do("DELETE", "/v2/"+name+"web-a/manifests/v1", nil, token...), 401)
		token = bearer(f.token("eve", "repository:"+name+"web-a:pull"))
		f.want(f.do("GET", "/v2/"+name+"web-a/manifests/v1", nil, token...), 403)
	}
	// Who may push to what lies below a base path by a rule of old cannot make repositories that would keep the registry from starting.
	f.want(f.do("POST", "/v2/prod/charts/blobs/uploads/", nil, basic("eve")...), 400, "NAME_INVALID")
	f.want(f.do("POST", "/v2/prod/charts/blobs/uploads/", nil, basic("ann")...), 403)
	for user, want := range map[string][]string{"ann": {"open-a", "web-a"}, "eve": {"open-a"}, "": {"open-a"}} {
		var all []string
		for _, base := range []string{"prod/", "", "team/"} {
			for _, name := range want {
				all = append(all, base+"spectro-packs/archive/"+name)
			}
		}
		for _, n := range []string{"1", "2", "100"} {
			if got := f.names("/v2/_catalog?n="+n, basic(user)...); !slices.Equal(got, all) {
				t.Errorf("%q sees %v, want %v", user, got, all)
			}
		}
	}
}

// A base path with repositories of its own is refused at the start; without the base path all is as it was.
func TestABasePathThatIsInUseIsRefused(t *testing.T) {
	root := t.TempDir()
	open := func(bases string) (*Server, error) {
		t.Helper()
		c, _, err := config.Parse([]byte("version: 0.1\nstorage: {filesystem: {rootdirectory: "+root+"}}\npacks: {basepaths: "+bases+"}\n"), config.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return Open(t.Context(), c, slog.New(slog.DiscardHandler))
	}
	request := func(s *Server, method, path, body string) (int, string) {
		w := (&fixture{t, "", s}).serveOnce(putRequest(t.Context(), path, imageIndex, body))
		if method == http.MethodGet {
			r := putRequest(t.Context(), path, "", "")
			r.Method, r.Body, r.ContentLength = http.MethodGet, http.NoBody, 0
			w = (&fixture{t, "", s}).serveOnce(r)
		}
		b, _ := io.ReadAll(w.Body)
		return w.Code, string(b)
	}
	const index = `{"schemaVersion":2,"mediaType":"` + imageIndex + `","manifests":[]}`
	with, err := open("[prod]")
	if err != nil {
		t.Fatal(err)
	}
	if code, body := request(with, "PUT", "/v2/prod/spectro-packs/archive/manifests/v1", index); code != 201 {
		t.Fatal(code, body)
	}
	without, err := open("[]")
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := request(without, "GET", "/v2/spectro-packs/archive/manifests/v1", ""); code != 200 {
		t.Errorf("what was pushed below the base path is gone with it: %d", code)
	}
	if code, _ := request(without, "GET", "/v2/prod/spectro-packs/archive/manifests/v1", ""); code != 404 {
		t.Errorf("a base path that was removed: %d", code)
	}
	if code, body := request(without, "GET", "/v2/_catalog", ""); code != 200 || strings.Contains(body, "prod") {
		t.Errorf("%d %s", code, body)
	}
	for _, name := range []string{"prod", "production/x", "prod-x/y"} {
		if code, body := request(without, "PUT", "/v2/"+name+"/manifests/v1", index); code != 201 {
			t.Fatal(code, body)
		}
	}
	if _, err := open("[prod]"); err != nil {
		t.Errorf("names that do not lie below it: %v", err)
	}
	if code, body := request(without, "PUT", "/v2/team/b/charts/x/manifests/v1", index); code != 201 {
		t.Fatal(code, body)
	}
	for bases, want := range map[string]string{"[prod, team/b]": "team/b is in use: the repository team/b/charts/x lies below it", "[team]": "team is in use", "[team/b/charts]": "team/b/charts is in use", "[team/c]": ""} {
		_, err := open(bases)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", bases, err, want)
		}
	}
}
