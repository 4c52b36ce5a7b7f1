package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
)

// A version's tag names what its pack.json says, through both APIs, whatever was pushed before.
func TestVersionTagsAreBound(t *testing.T) {
	f := open0(t)
	manifest := f.packManifest("dns", "1.1.1", nil)
	d := digest.FromString(manifest)
	for _, api := range []string{"/v1/dns", "/v2/spectro-packs/archive/dns"} {
		f.want(f.putManifest(api+"/manifests/1.1.1", manifest), 201)
		for _, other := range []string{"9.9.9", "1.1.1-beta", "v1.1.1", "1.1", "22.04", "1.1.1.1", "lts__1.1.1", "1.1.1_build", "01.1.1"} {
			f.want(f.putManifest(api+"/manifests/"+other, manifest), 400, "MANIFEST_INVALID", "pack.json#/version", `\"1.1.1\"`)
			f.want(f.putManifest(api+"/manifests/"+d.String()+"?tag="+other, manifest), 400, "MANIFEST_INVALID")
			f.want(f.putManifest(api+"/manifests/"+d.String()+"?tag=1.1.1&tag="+other, manifest), 400, "MANIFEST_INVALID")
			f.want(f.do("GET", api+"/manifests/"+other, nil), 404)
		}
		f.want(f.putManifest(api+"/manifests/9.x", manifest), 405, "parent tag")
		for _, alias := range []string{"stable", "1", "latest-1.1.1", "sha256-x"} {
			f.want(f.putManifest(api+"/manifests/"+alias, manifest), 201)
		}
	}
	f.want(f.do("GET", "/v1/dns/tags/list", nil), 200, `"tags":["1","1.1.1","1.1.x","1.x","latest-1.1.1","sha256-x","stable"]`)
}

func TestVersionTagsOfGroupsAreBound(t *testing.T) {
	f := open0(t)
	const metadata = `{"name":"dns","displayName":"DNS","version":"14.4.3","layer":"addon","group":"lts"}`
	manifest := f.packManifest("dns", "14.4.3", map[string]string{"pack.json": metadata})
	f.want(f.putManifest("/v1/dns/manifests/14.4.3", manifest), 400, `\"lts__14.4.3\"`)
	f.want(f.putManifest("/v1/dns/manifests/lts__14.4.3", manifest), 201)
	for _, other := range []string{"14.4.3", "edge__14.4.3", "lts___14.4.3", "lts__14.4.4"} {
		f.want(f.putManifest("/v1/dns/manifests/"+other, manifest), 400, "MANIFEST_INVALID", `\"lts__14.4.3\"`)
	}
	f.want(f.putManifest("/v1/dns/manifests/lts__stable", manifest), 201)
	m, err := f.store.Repository(pack.Repository("dns")).Tagged(t.Context(), "lts__stable")
	if err != nil || m.Pack != "lts__14.4.3" {
		t.Errorf("recorded as %q, %v", m.Pack, err)
	}
}

// What comes in as a signature, or as something about another manifest, is not read. So it becomes no version.
func TestSignaturesBecomeNoVersions(t *testing.T) {
	f := open0(t)
	good := f.packManifest("dns", "1.0.0", nil)
	f.want(f.putManifest("/v1/dns/manifests/1.0.0", good), 201)
	subject := digest.FromString(good)
	signature := "sha256-" + subject.Encoded()
	junk := f.pushBlob(pack.Repository("dns"), "no archive")
	config := digest.FromString("{}")
	manifest := func(more string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"c","digest":%q,"size":2},"layers":[{"mediaType":"a/b","digest":%q,"size":10}]%s}`, config, junk, more)
	}
	plain, about := manifest(""), manifest(fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":1}`, imageManifest, subject))
	for _, api := range []string{"/v1/dns", "/v2/spectro-packs/archive/dns"} {
		f.want(f.putManifest(api+"/manifests/"+signature+".sig", plain), 201)
		f.want(f.putManifest(api+"/manifests/"+signature, plain), 201)
		f.want(f.putManifest(api+"/manifests/"+digest.FromString(about).String(), about), 201)
		f.want(f.putManifest(api+"/manifests/"+signature+".att", about), 201)
		for _, tag := range []string{"2.0.0", "stable", "sha256-x", "sha256-" + subject.Encoded()[:63], "sha256-" + subject.Encoded() + "0"} {
			f.want(f.putManifest(api+"/manifests/"+tag, plain), 400, "not a tar archive")
			f.want(f.putManifest(api+"/manifests/"+tag, about), 400, "subject")
			f.want(f.putManifest(api+"/manifests/"+digest.FromString(plain).String()+"?tag="+signature+"&tag="+tag, plain), 400)
			f.want(f.do("GET", api+"/manifests/"+tag, nil), 404)
		}
	}
	f.want(f.do("GET", "/v1/dns/tags/list", nil), 200, `"tags":["1.0.0","1.0.x","1.x"]`)
	f.want(f.do("GET", "/v1/dns/referrers/"+subject.String(), nil), 200, digest.FromString(about).String())
}

// A manifest without the record, of an earlier release or pushed as a signature, is validated when it is tagged.
func TestManifestsWithoutARecordAreValidatedWhenTheyAreTagged(t *testing.T) {
	f := open0(t)
	r := f.store.Repository(pack.Repository("dns"))
	good := f.packManifest("dns", "1.0.0", nil)
	d := digest.FromString(good)
	f.want(f.putManifest("/v1/dns/manifests/sha256-"+d.Encoded()+".sig", good), 201)
	m, err := r.Manifest(t.Context(), d)
	if err != nil || m.Pack != "" || len(m.Files) != 0 {
		t.Fatalf("a signature was read: %+v, %v", m, err)
	}
	f.want(f.putManifest("/v1/dns/manifests/2.0.0", good), 400, `\"1.0.0\"`)
	f.want(f.putManifest("/v1/dns/manifests/stable", good), 201)
	m, err = r.Manifest(t.Context(), d)
	if err != nil || m.Pack != "1.0.0" || len(m.Files) == 0 {
		t.Fatalf("not recorded: %+v, %v", m, err)
	}
	f.collect(4)
	for _, file := range m.Files {
		f.want(f.do("GET", "/v1/dns/blobs/"+file.Digest.String(), nil), 200)
	}
	f.wantNoProblems()

	// One that is no pack stays what it is, and gets no name.
	bad := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"c","digest":%q,"size":2},"layers":[]}`, digest.FromString("{}"))
	put := store.PutManifest{Digest: digest.FromString(bad), MediaType: imageManifest, Content: []byte(bad)}
	if err := r.PutManifest(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	f.want(f.putManifest("/v2/spectro-packs/archive/dns/manifests/old", bad), 400, "exactly one layer")
	f.want(f.putManifest("/v2/spectro-packs/archive/dns/manifests/"+put.Digest.String()+"?tag=old", bad), 400, "exactly one layer")
}

func TestValidationThatWarns(t *testing.T) {
	f := start(t, inmemory.New(), "}\npacks: {validation: warn}", nil)
	manifest := f.packManifest("dns", "1.0.0", nil)
	f.want(f.putManifest("/v1/dns/manifests/1.0.0", manifest), 201)
	f.want(f.putManifest("/v1/dns/manifests/2.0.0", manifest), 201)
	f.want(f.putManifest("/v1/dns/manifests/3.0.0", strings.Replace(manifest, `"layers":[`, `"layers":[],"x":[`, 1)), 201)
}

// A pack of which a file that consoles show is gone is there again once it is pushed again: nobody else can bring that file.
func TestFilesThatAreGoneComeBackWithThePack(t *testing.T) {
	for _, lost := range []string{"README.md", "logo.png", "pack.json", listName} {
		t.Run(strings.Trim(lost, "*"), func(t *testing.T) {
			f := open0(t)
			manifest := f.packManifest("dns", "1.0.0", nil)
			f.want(f.putManifest("/v1/dns/manifests/1.0.0", manifest), 201)
			m, err := f.store.Repository(pack.Repository("dns")).Manifest(t.Context(), digest.FromString(manifest))
			if err != nil {
				t.Fatal(err)
			}
			path := ""
			for _, file := range m.Files {
				if file.Name == lost {
					path = "/v2/spectro-packs/archive/dns/blobs/" + file.Digest.String()
				}
			}
			for _, again := range []string{"1.0.0", "stable"} { // pushed as before, and under another tag
				f.want(f.do("DELETE", path, nil), 202)
				f.want(f.do("GET", path, nil), 404)
				f.want(f.putManifest("/v1/dns/manifests/"+again, manifest), 201)
				f.want(f.do("GET", path, nil), 200)
			}
			f.want(f.putManifest("/v1/dns/manifests/2.0.0", manifest), 400, `\"1.0.0\"`)
			f.collect(4)
			f.want(f.do("GET", path, nil), 200)
			f.wantNoProblems()
		})
	}
}

// A record of an earlier version, which knew fewer files, names all of them after that.
func TestFilesThatAreGoneAreRecordedAnew(t *testing.T) {
	f := open0(t)
	manifest := f.oldPack("dns")
	r, d := f.store.Repository(pack.Repository("dns")), digest.FromString(manifest)
	other := f.pushBlob(pack.Repository("dns"), "other")
	if err := r.RecordFile(t.Context(), d, store.File{Name: "README.md", Digest: other, Size: 5}); err != nil {
		t.Fatal(err)
	}
	f.want(f.do("DELETE", "/v2/spectro-packs/archive/dns/blobs/"+string(other), nil), 202)
	f.want(f.putManifest("/v1/dns/manifests/1.0.0", manifest), 201)
	m, err := r.Manifest(t.Context(), d)
	if err != nil || len(m.Files) != 5 || m.Pack != "1.0.0" {
		t.Errorf("%+v, %v", m, err)
	}
	f.wantNoProblems()
}
