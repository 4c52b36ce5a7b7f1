package server

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/store/driver/instrumented"
)

// archiveReads is how many bytes of a pack's archive were read.
func (d *readCounter) archiveReads(archive digest.Digest) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for key, read := range d.bytes {
		if strings.Contains(key, "b/") && strings.Contains(key, archive.Encoded()) {
			n += read
		}
	}
	return n
}

// layerOf finds the archive in a manifest.
func layerOf(t *testing.T, manifest string) digest.Digest {
	t.Helper()
	c, err := store.ParseManifest(imageManifest, []byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return c.Layers[0].Digest
}

// Which files a pack has is known from its push: no request unpacks the archive to find that out.
func TestFilesAreListedAtThePush(t *testing.T) {
	d := &readCounter{Driver: inmemory.New(), bytes: map[string]int{}}
	f := start(t, d, "}", nil)
	manifest := f.packManifest("demo", "1.0.0", map[string]string{"deep/x.yaml": "a: 1\n"})
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", manifest), 201)
	clear(d.bytes)
	all := f.unpacks.Size()
	if !f.unpacks.TryAcquire("another", all) {
		t.Fatal("not all places are free")
	}
	list := f.do("GET", "/v1/demo/files/1.0.0/", nil)
	f.want(list, 200, `"name":"deep/x.yaml","size":5`, `"name":"pack.json"`, `"name":"manifests/app.yaml"`)
	if head := f.do("HEAD", "/v1/demo/files/1.0.0/", nil); head.StatusCode != http.StatusOK || head.ContentLength != list.ContentLength || head.ContentLength < 10 {
		t.Errorf("HEAD of the list: %s, %d bytes of %d", head.Status, head.ContentLength, list.ContentLength)
	}
	if head := f.do("HEAD", "/v1/demo/files/1.0.0/deep/x.yaml", nil); head.StatusCode != http.StatusOK || head.ContentLength != 5 || head.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("HEAD: %s %v", head.Status, head.Header)
	}
	for _, method := range []string{"GET", "HEAD"} {
		for _, none := range []string{"none", "deep", "deep/", "*", "pack.json/x"} {
			f.want(f.do(method, "/v1/demo/files/1.0.0/"+none, nil), 404)
		}
	}
	if n := d.archiveReads(layerOf(t, manifest)); n != 0 {
		t.Errorf("%d bytes of the archive were read", n)
	}
	f.unpacks.Release("another", all)
	f.want(f.do("GET", "/v1/demo/files/1.0.0/deep/x.yaml", nil), 200, "a: 1\n")
	// The list belongs to the manifest, and goes with it.
	f.collect(4)
	f.want(f.do("GET", "/v1/demo/files/1.0.0/", nil), 200, `"deep/x.yaml"`)
	f.wantNoProblems()
	if n := d.archiveReads(layerOf(t, manifest)); n == 0 {
		t.Error("this test cannot see what is read")
	}
}

// oldPack stores a pack as an earlier version did, without a list of its files.
func (f *fixture) oldPack(name string) (manifest string) {
	f.t.Helper()
	manifest = f.packManifest(name, "1.0.0", nil)
	f.oldManifest(name, manifest)
	return manifest
}

func (f *fixture) oldManifest(name, manifest string) {
	f.t.Helper()
	r, d := f.store.Repository(pack.Repository(name)), digest.FromString(manifest)
	put := store.PutManifest{Digest: d, MediaType: imageManifest, Content: []byte(manifest), Pack: "1.0.0"}
	if err := r.PutManifest(f.t.Context(), put); err != nil {
		f.t.Fatal(err)
	}
	if err := r.Tag(f.t.Context(), "1.0.0", d, "", true); err != nil {
		f.t.Fatal(err)
	}
}

func TestListsOfOlderPacksAreMadeOnce(t *testing.T) {
	d := &readCounter{Driver: inmemory.New(), bytes: map[string]int{}}
	f := start(t, d, "}", nil)
	archive := layerOf(t, f.oldPack("demo"))
	reads := func(path string) int {
		before := d.archiveReads(archive)
		f.want(f.do("HEAD", path, nil), 200)
		return d.archiveReads(archive) - before
	}
	if reads("/v1/demo/files/1.0.0/pack.json") == 0 {
		t.Error("the list was there already")
	}
	if n := reads("/v1/demo/files/1.0.0/pack.json") + reads("/v1/demo/files/1.0.0/"); n != 0 {
		t.Errorf("it was made again: %d bytes", n)
	}
	f.collect(4)
	if n := reads("/v1/demo/files/1.0.0/"); n != 0 {
		t.Errorf("it was collected: %d bytes", n)
	}
	// Where it is lost it is made again.
	m, err := f.store.Repository(pack.Repository("demo")).Manifest(t.Context(), digest.FromString(f.packManifest("demo", "1.0.0", nil)))
	if err != nil || len(m.Files) != 1 || m.Pack != "1.0.0" {
		t.Fatalf("%+v, %v", m, err)
	}
	f.want(f.do("DELETE", "/v1/demo/blobs/"+m.Files[0].Digest.String(), nil), 202)
	if reads("/v1/demo/files/1.0.0/") == 0 {
		t.Error("a list that is gone was read")
	}
	if n := reads("/v1/demo/files/1.0.0/"); n != 0 {
		t.Errorf("it was not kept again: %d bytes", n)
	}
	f.wantNoProblems()
}

// A registry that is read-only lists files without writing anything.
func TestListsOfOlderPacksInAReadOnlyRegistry(t *testing.T) {
	d := inmemory.New()
	f := start(t, d, "}", nil)
	manifest := f.oldPack("demo")
	reader := start(t, d, ", maintenance: {readonly: {enabled: true}}}", nil)
	for range 2 {
		reader.want(reader.do("GET", "/v1/demo/files/1.0.0/", nil), http.StatusOK, `"pack.json"`)
	}
	m, err := f.store.Repository(pack.Repository("demo")).Manifest(t.Context(), digest.FromString(manifest))
	if err != nil || len(m.Files) != 0 {
		t.Errorf("%+v, %v", m, err)
	}
}

// What the push of a pack's manifest costs of the storage: six calls for each file that is a blob of its own, and for the list of
// all files, and some for the manifest and its tag.
func TestCallsOfAPacksPush(t *testing.T) {
	var calls atomic.Int64
	d := instrumented.New(inmemory.New(), func(string, string, time.Duration) { calls.Add(1) })
	f := start(t, d, "}", nil)
	manifest := f.packManifest("demo", "1.0.0", nil)
	calls.Store(0)
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", manifest), 201)
	const files = 4 + 1 // pack.json, values.yaml, README.md, logo.png; and the list
	if n, most := calls.Load(), int64(6*files+10); n > most {
		t.Errorf("%d calls, %d are the most", n, most)
	}
}
