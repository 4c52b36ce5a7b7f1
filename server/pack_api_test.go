package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/store/driver/inmemory"
)

func (f *fixture) tags(path string) ([]string, http.Header) {
	f.t.Helper()
	var list struct{ Tags []string }
	r := f.do("GET", path, nil)
	if r.StatusCode != http.StatusOK {
		f.t.Fatalf("%s: %s %s", path, r.Status, text(r))
	}
	if err := json.Unmarshal([]byte(text(r)), &list); err != nil {
		f.t.Fatal(err)
	}
	return list.Tags, r.Header
}

// tagged tags one manifest, through the distribution API.
func (f *fixture) tagged(name string, tags ...string) {
	f.t.Helper()
	f.tagPaths("/v2/"+name, tags...)
}

func (f *fixture) tagPaths(path string, tags ...string) {
	f.t.Helper()
	d := digest.FromString("{}")
	f.want(f.do("POST", path+"/blobs/uploads/?digest="+d.String(), strings.NewReader("{}")), 201)
	for _, tag := range tags {
		m := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[],"annotations":{"tag":%q}}`, imageManifest, d, tag)
		f.want(f.putManifest(path+"/manifests/"+tag, m), 201)
	}
}

// A version whose manifest is gone, as a process that died can leave it for a while, does not hide the one before it.
func TestParentTagsPassOverDeadVersions(t *testing.T) {
	d := inmemory.New()
	f := start(t, d, "}\npacks: {validation: 'off'}", nil)
	const name = "spectro-packs/archive/dns"
	f.tagged(name, "1.2.0", "1.2.1", "1.2.2")
	newest := f.do("HEAD", "/v1/dns/manifests/1.2.x", nil).Header.Get("Docker-Content-Digest")
	key := "r/spectro!packs.archive.dns/m/" + strings.Replace(newest, ":", "-", 1)
	if _, _, err := d.Read(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	f.want(f.do("GET", "/v1/dns/manifests/1.2.2", nil), 404)
	f.want(f.do("GET", "/v1/dns/manifests/1.2.x", nil), 200, `"tag":"1.2.1"`)
	f.want(f.do("GET", "/v1/dns/manifests/1.x", nil), 200, `"tag":"1.2.1"`)
}

func TestParentTags(t *testing.T) {
	f := start(t, inmemory.New(), "}\npacks: {validation: 'off'}", nil)
	const name = "spectro-packs/archive/dns"
	signature := "sha256-" + digest.FromString("").Encoded() + ".sig"
	stored := []string{"1.2.0", "1.2.3", "1.10.0", "1.9.0-rc1", "2.0.0", "lts__14.4.3", "lts__14.4.10", "stable", signature, "weird.x1", "10",
		"LTS__22.04", "LTS__20.00", "v3.1.4", "4.5", "5.6.7.8"}
	f.tagged(name, stored...)
	want := []string{"1.10.0", "1.10.x", "1.2.0", "1.2.3", "1.2.x", "1.9.0-rc1", "1.9.x", "1.x", "10", "2.0.0", "2.0.x", "2.x",
		"3.1.x", "3.x", "4.5", "4.5.x", "4.x", "5.6.7.8", "5.6.x", "5.x", "LTS__20.0.x", "LTS__20.00", "LTS__20.x", "LTS__22.04", "LTS__22.4.x", "LTS__22.x",
		"lts__14.4.10", "lts__14.4.3", "lts__14.4.x", "lts__14.x", "stable", "v3.1.4", "weird.x1"}
	all, _ := f.tags("/v1/dns/tags/list")
	if !slices.Equal(all, want) {
		t.Fatalf("tags\n%v, want\n%v", all, want)
	}
	for size := 1; size <= len(want)+1; size++ {
		var got []string
		for path := fmt.Sprintf("/v1/dns/tags/list?n=%d", size); path != ""; {
			page, header := f.tags(path)
			got = append(got, page...)
			path, _, _ = strings.Cut(strings.TrimPrefix(header.Get("Link"), "<"), ">")
			if len(page) > size || len(got) > 2*len(want) {
				t.Fatalf("by %d: %v", size, got)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %d: %v", size, got)
		}
	}
	// Begun after any tag, one that is there or not.
	for _, last := range append(slices.Clone(want), "1.", "1.1", "1.2.1", "1.y", "0", "lts__14.", "lts__14.4.4", "zzz") {
		got, _ := f.tags("/v1/dns/tags/list?last=" + last)
		rest := slices.DeleteFunc(slices.Clone(want), func(tag string) bool { return tag <= last })
		if !slices.Equal(got, rest) {
			t.Errorf("after %s: %v, want %v", last, got, rest)
		}
	}
	for parent, version := range map[string]string{"1.x": "1.10.0", "1.2.x": "1.2.3", "1.9.x": "1.9.0-rc1", "lts__14.x": "lts__14.4.10", "lts__14.4.x": "lts__14.4.10",
		"LTS__22.4.x": "LTS__22.04", "LTS__20.x": "LTS__20.00", "3.1.x": "v3.1.4", "4.5.x": "4.5", "5.x": "5.6.7.8"} {
		f.want(f.do("GET", "/v1/dns/manifests/"+parent, nil), 200, fmt.Sprintf(`"tag":%q`, version))
		f.want(f.do("GET", "/v2/"+name+"/manifests/"+parent, nil), 404)
	}
	f.want(f.do("GET", "/v1/dns/manifests/7.x", nil), 404)
	f.want(f.do("GET", "/v1/none/manifests/3.x", nil), 404)
	// They move when a version goes, and vanish with the last.
	f.want(f.do("DELETE", "/v1/dns/manifests/1.10.0", nil), 202)
	f.want(f.do("GET", "/v1/dns/manifests/1.x", nil), 200, `"tag":"1.2.3"`)
	f.want(f.do("GET", "/v1/dns/manifests/1.10.x", nil), 404)
	f.want(f.do("DELETE", "/v1/dns/manifests/2.0.0", nil), 202)
	after, _ := f.tags("/v1/dns/tags/list")
	if slices.Contains(after, "2.x") || slices.Contains(after, "1.10.x") || !slices.Contains(after, "1.x") {
		t.Errorf("after two deletions: %v", after)
	}
	f.want(f.do("DELETE", "/v1/dns/manifests/1.x", nil), 405, "cannot be deleted")
	f.want(f.putManifest("/v1/dns/manifests/7.x", "{}"), 405, "cannot be pushed")
	// The distribution API shows what is stored.
	raw, _ := f.tags("/v2/" + name + "/tags/list")
	if !slices.Contains(raw, signature) || slices.Contains(raw, "1.x") {
		t.Errorf("/v2: %v", raw)
	}
}

func TestFilesOfAPack(t *testing.T) {
	f := open0(t)
	manifest := f.packManifest("hello", "1.0.0", map[string]string{"evil.html": "<script>alert(1)</script>", "dir/deep.yaml": "a: 1\n"})
	r := f.putManifest("/v1/hello/manifests/1.0.0", manifest)
	f.want(r, 201)
	d := r.Header.Get("Docker-Content-Digest")
	f.want(f.do("GET", "/v1/hello/files/1.0.0/", nil), 200, `{"name":"pack.json","size":`, `{"name":"dir/deep.yaml","size":5}`)
	for _, reference := range []string{"1.0.0", "1.x", d} {
		got := f.do("GET", "/v1/hello/files/"+reference+"/pack.json", nil)
		f.want(got, 200, `"name"`)
		if got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Docker-Content-Digest") != d {
			t.Errorf("%s: %v", reference, got.Header)
		}
	}
	deep := f.do("GET", "/v1/hello/files/1.0.0/dir/deep.yaml", nil)
	f.want(deep, 200, "a: 1\n")
	if deep.Header.Get("Content-Type") != "application/yaml" || deep.Header.Get("X-Content-Type-Options") != "nosniff" || deep.ContentLength != 5 {
		t.Errorf("%v", deep.Header)
	}
	evil := f.do("GET", "/v1/hello/files/1.0.0/evil.html", nil)
	f.want(evil, 200)
	if evil.Header.Get("Content-Type") != "application/octet-stream" || evil.Header.Get("Content-Disposition") != "attachment" || evil.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a pack can run script: %v", evil.Header)
	}
	head := f.do("HEAD", "/v1/hello/files/1.0.0/dir/deep.yaml", nil)
	f.want(head, 200)
	if head.ContentLength != 5 {
		t.Errorf("HEAD says %d bytes", head.ContentLength)
	}
	f.want(f.do("GET", "/v1/hello/files/1.0.0/none", nil), 404, "no file")
	f.want(f.do("GET", "/v1/hello/files/1.0.0/../pack.json", nil), 404)
	f.want(f.do("GET", "/v1/hello/files/9.9.9/pack.json", nil), 404)
	f.want(f.do("GET", "/v1/hello/files/1.0.0/pack.json", nil, "If-None-Match", `"`+d+`"`), 304)
	f.want(f.do("POST", "/v1/hello/files/1.0.0/pack.json", nil), 405)
	signature := "sha256-" + digest.FromString("").Encoded() + ".sig"
	f.tagged(pack.ArchivePrefix+"notpack", signature)
	f.want(f.do("GET", "/v1/notpack/files/"+signature+"/", nil), 404, "no pack")
}
