package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"packregistry.dev/server/internal/summaries"
	"packregistry.dev/server/store/driver/inmemory"
)

// index reads the index page by page, of so many rows each, and returns the pages' ETags too.
func (f *fixture) index(n int, headers ...string) (rows []summaries.Entry, tags []string) {
	f.t.Helper()
	for path := fmt.Sprintf("/v1/_index?n=%d", n); path != ""; {
		r := f.do("GET", path, nil, headers...)
		body := text(r)
		if r.StatusCode != http.StatusOK {
			f.t.Fatalf("%s: %s %s", path, r.Status, body)
		}
		var page struct{ Packs []summaries.Entry }
		if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Packs) > n {
			f.t.Fatalf("%s: %v: %s", path, err, body)
		}
		rows, tags = append(rows, page.Packs...), append(tags, r.Header.Get("ETag"))
		path, _, _ = strings.Cut(strings.TrimPrefix(r.Header.Get("Link"), "<"), ">")
	}
	return rows, tags
}

func namesOf(rows []summaries.Entry) (names []string) {
	for _, r := range rows {
		names = append(names, r.Name)
	}
	return names
}

func TestIndex(t *testing.T) {
	f := start(t, inmemory.New(), "}", nil)
	for _, name := range []string{"calico", "dns", "edge"} {
		for _, version := range []string{"1.9.0", "1.10.0"} {
			f.want(f.putManifest("/v1/"+name+"/manifests/"+version, f.packManifest(name, version, nil)), 201)
		}
	}
	d := f.do("HEAD", "/v1/dns/manifests/1.10.0", nil).Header.Get("Docker-Content-Digest")
	rows, _ := f.index(10)
	if len(rows) != 3 {
		t.Fatalf("rows %+v", rows)
	}
	if r := rows[1]; r.Name != "dns" || r.Tag != "1.10.0" || string(r.Digest) != d || r.Versions != 2 || r.Layer != "addon" || r.DisplayName == "" || r.Size == 0 || r.Pushed.IsZero() {
		t.Errorf("row %+v", r)
	}
	for n := 1; n <= 4; n++ {
		if got, _ := f.index(n); !slices.Equal(namesOf(got), []string{"calico", "dns", "edge"}) {
			t.Errorf("by %d: %v", n, namesOf(got))
		}
	}
	for _, change := range []struct {
		what string
		do   func()
	}{
		{"an alias", func() {
			f.want(f.putManifest("/v1/dns/manifests/"+d+"?tag=stable", text(f.do("GET", "/v1/dns/manifests/"+d, nil))), 201)
		}},
		{"a tag deleted", func() { f.want(f.do("DELETE", "/v1/dns/manifests/1.10.0", nil), 202) }},
		{"another pack", func() {
			f.want(f.putManifest("/v1/zfs/manifests/1.0.0", f.packManifest("zfs", "1.0.0", nil)), 201)
		}},
	} {
		before := f.do("GET", "/v1/_index?n=3", nil).Header.Get("ETag")
		f.want(f.do("GET", "/v1/_index?n=3", nil, "If-None-Match", `"x", W/`+before), 304)
		change.do()
		f.want(f.do("GET", "/v1/_index?n=3", nil, "If-None-Match", before), 200, `"dns"`)
	}
	if rows, _ := f.index(10); rows[1].Tag != "1.9.0" || rows[1].Versions != 1 {
		t.Errorf("after the deletion: %+v", rows[1])
	}
	f.want(f.do("GET", "/v1/_index?n=x", nil), 400, "PAGINATION")
	f.want(f.do("GET", "/v1/_index?next=x", nil), 400, "PAGINATION")
	f.want(f.do("GET", "/v1/_index?n=0", nil), 200, `{"packs":[]}`)
	f.want(f.do("POST", "/v1/_index", nil), 405)
	f.want(f.do("GET", "/v2/_index", nil), 404)
}

// Everybody sees what they may pull, and who pushed only if they have logged in.
func TestIndexShowsWhatMayBePulled(t *testing.T) {
	f, _ := serve(t, `
version: 0.1
storage: inmemory
packs: {validation: "off"}
auth:
  htpasswd: {path: `+usersFile(t, "ann", "bob")+`}
  access:
    rules:
    - {users: ann, repositories: "**", actions: [pull, push, delete]}
    - {users: bob, repositories: "spectro-packs/archive/team-*", actions: [pull]}
    - {anonymous: true, repositories: "spectro-packs/archive/public", actions: pull}
`)
	for _, name := range []string{"public", "secret", "team-a"} {
		f.pushAs("ann", name)
	}
	tags := map[string]bool{}
	for user, want := range map[string]string{"ann": "public ann,secret ann,team-a ann", "bob": "public ann,team-a ann", "": "public "} {
		rows, etags := f.index(2, basic(user)...)
		var got []string
		for _, r := range rows {
			got = append(got, r.Name+" "+r.By)
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%q sees %q, want %q", user, got, want)
		}
		if tags[etags[0]] && user != "bob" && user != "ann" {
			t.Errorf("%q has the ETag of another, whose answer has more", user)
		}
		tags[etags[0]] = true
	}
	all := f.do("GET", "/v1/_index", nil, basic("ann")...).Header.Get("ETag")
	f.want(f.do("GET", "/v1/_index", nil, append(basic("bob"), "If-None-Match", all)...), 200)
}

// pushAs pushes a version of a pack as a user.
func (f *fixture) pushAs(user, name string) {
	f.t.Helper()
	d := f.pushBlobAs(user, "spectro-packs/archive/"+name, "{}")
	m := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[]}`, imageManifest, d)
	f.want(f.do("PUT", "/v1/"+name+"/manifests/1.0.0", strings.NewReader(m), append(basic(user), "Content-Type", imageManifest)...), 201)
}
