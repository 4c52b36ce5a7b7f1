package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/server/store/driver/inmemory"
)

// annotated is a manifest that is as large as a manifest may be.
func annotated(manifest string) string {
	return strings.Replace(manifest, `"layers":`, `"annotations":{"a":"`+strings.Repeat("x", 3_900_000)+`"},"layers":`, 1)
}

func (f *fixture) manifestReads(d *readCounter, manifest string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for key, read := range d.bytes {
		if strings.Contains(key, digest.FromString(manifest).Encoded()) {
			n += read
		}
	}
	return n
}

// wantLittle sends many requests at once, which must neither read a manifest nor take much memory.
func (f *fixture) wantLittle(d *readCounter, manifest string, r *http.Request) {
	f.t.Helper()
	clear(d.bytes)
	const requests = 200
	memory, _ := testfuzz.Cost(func() {
		var group sync.WaitGroup
		for range requests {
			group.Go(func() {
				if w := f.serveOnce(r.Clone(r.Context())); w.Code >= http.StatusInternalServerError {
					f.t.Errorf("%s: %d", r.URL, w.Code)
				}
			})
		}
		group.Wait()
	})
	if n := f.manifestReads(d, manifest) / requests; n > 64<<10 {
		f.t.Errorf("%s: %d bytes of the manifest were read each time", r.URL, n)
	}
	if memory > 64<<20 {
		f.t.Errorf("%s: %d requests took %d MiB", r.URL, requests, memory>>20)
	}
}

// What a pack's files are is known without reading its manifest, however many ask at once.
func TestFilesOfALargeManifestTakeLittle(t *testing.T) {
	d := &readCounter{Driver: inmemory.New(), bytes: map[string]int{}}
	f := start(t, d, "}", nil)
	manifest := annotated(f.packManifest("big", "1.0.0", nil))
	f.want(f.putManifest("/v1/big/manifests/1.0.0", manifest), 201)
	for _, path := range []string{"/v1/big/files/1.0.0/pack.json", "/v1/big/files/1.x/", "/v1/big/files/" + digest.FromString(manifest).String() + "/none"} {
		f.wantLittle(d, manifest, httptest.NewRequestWithContext(t.Context(), http.MethodHead, path, nil))
	}
	get := f.do("GET", "/v1/big/files/1.0.0/values.yaml", nil)
	f.want(get, 200, "")
	f.want(f.do("GET", "/v1/big/files/1.0.0/values.yaml", nil, "If-None-Match", get.Header.Get("Etag")), 304)
}

// A manifest that must be read takes its share of the memory for manifests; that is needed once.
func TestFilesOfAnOlderLargeManifestTakeTheirShare(t *testing.T) {
	d := &readCounter{Driver: inmemory.New(), bytes: map[string]int{}}
	f := start(t, d, "}", nil)
	manifest := annotated(f.packManifest("big", "1.0.0", nil))
	f.oldManifest("big", manifest)
	all := int64(max(manifestShare, manifestWeight*(f.config.HTTP.Limits.ManifestBytes+1)))
	if !f.manifests.memory.TryAcquire("another", all) {
		t.Fatal("not all of the memory is free")
	}
	f.want(f.do("GET", "/v1/big/files/1.0.0/pack.json", nil), http.StatusTooManyRequests, "TOOMANYREQUESTS")
	f.manifests.memory.Release("another", all)
	f.want(f.do("HEAD", "/v1/big/files/1.0.0/pack.json", nil), 200)
	if !f.manifests.memory.TryAcquire("another", all) {
		t.Fatal("some of the memory was not given back")
	}
	clear(d.bytes)
	f.want(f.do("HEAD", "/v1/big/files/1.0.0/pack.json", nil), 200)
	f.want(f.do("GET", "/v1/big/files/1.0.0/", nil), 200, `"pack.json"`)
	if n := f.manifestReads(d, manifest); n > 128<<10 {
		t.Errorf("%d bytes of the manifest were read again", n)
	}
	f.wantNoProblems()
}

// To look through a long list is work, of which so much is done at once as of unpacking.
func TestLongListsTakeAPlace(t *testing.T) {
	f := open0(t)
	files := map[string]string{}
	for i := range 400 {
		files[fmt.Sprintf("docs/%03d-%s", i, strings.Repeat("&", 200))] = "x"
	}
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", f.packManifest("demo", "1.0.0", files)), 201)
	list := f.do("GET", "/v1/demo/files/1.0.0/", nil)
	f.want(list, 200)
	if list.ContentLength < longList || list.ContentLength > 120<<10 {
		t.Errorf("400 names of 200 letters take %d bytes", list.ContentLength)
	}
	all := f.unpacks.Size()
	if !f.unpacks.TryAcquire("another", all) {
		t.Fatal("not all places are free")
	}
	f.want(f.do("HEAD", "/v1/demo/files/1.0.0/none", nil), http.StatusTooManyRequests)
	f.want(f.do("GET", "/v1/demo/files/1.0.0/", nil), 200, "values.yaml")
	f.unpacks.Release("another", all)
	f.want(f.do("HEAD", "/v1/demo/files/1.0.0/none", nil), 404)
	f.want(f.do("GET", "/v1/demo/files/1.0.0/values.yaml", nil), 200)
	if !f.unpacks.TryAcquire("another", all) {
		t.Error("a place was not given back")
	}
}

// HEAD of a manifest says what GET does, and reads its header only.
func TestHeadOfALargeManifestTakesLittle(t *testing.T) {
	d := &readCounter{Driver: inmemory.New(), bytes: map[string]int{}}
	f := start(t, d, "}", nil)
	manifest := annotated(f.packManifest("big", "1.0.0", nil))
	f.want(f.putManifest("/v1/big/manifests/1.0.0", manifest), 201)
	etag := `"` + digest.FromString(manifest).String() + `"`
	for _, tt := range []struct {
		header, value string
		status        int
	}{{"", "", 200}, {"If-None-Match", etag, 304}, {"If-Match", `"x"`, 412}, {"Range", "bytes=0-9", 206}, {"Range", "bytes=0-9,20-29", 206}, {"Range", "bytes=9000000-", 416}} {
		for _, path := range []string{"/v1/big/manifests/1.x", "/v2/spectro-packs/archive/big/manifests/1.0.0", "/v2/spectro-packs/archive/big/manifests/" + digest.FromString(manifest).String()} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodHead, path, nil)
			if tt.header != "" {
				r.Header.Set(tt.header, tt.value)
			}
			f.wantLittle(d, manifest, r)
			head := f.serveOnce(r)
			get := r.Clone(t.Context())
			get.Method = http.MethodGet
			want := f.serveOnce(get)
			if head.Code != tt.status || want.Code != tt.status || head.Code < 400 && head.Body.Len() > 0 {
				t.Errorf("HEAD %s with %s %s: %d with %d bytes, and GET %d; want %d", path, tt.header, tt.value, head.Code, head.Body.Len(), want.Code, tt.status)
			}
			for _, name := range []string{"Content-Length", "Etag", "Docker-Content-Digest", "Content-Range"} {
				if head.Header().Get(name) != want.Header().Get(name) {
					t.Errorf("HEAD %s with %s %s: %s is %q, and %q for GET", path, tt.header, tt.value, name, head.Header().Get(name), want.Header().Get(name))
				}
			}
		}
	}
}
