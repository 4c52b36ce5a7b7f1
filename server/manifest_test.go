package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store"
)

const (
	imageIndex    = "application/vnd.oci.image.index.v1+json"
	dockerSchema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

func (f *fixture) collect(times int) {
	f.t.Helper()
	for range times {
		if _, err := f.store.Collect(f.t.Context(), store.Collection{}); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fixture) wantNoProblems() {
	f.t.Helper()
	if _, err := f.store.Verify(f.t.Context(), store.Verification{Found: func(p store.Problem) { f.t.Errorf("%+v", p) }}); err != nil {
		f.t.Fatal(err)
	}
}

// A manifest whose references nobody knows would lose them to the next collection.
func TestManifestsThatAreNotUnderstoodAreRefused(t *testing.T) {
	f := open0(t)
	layer := f.pushBlob("r", "layer")
	schema1 := fmt.Sprintf(`{"schemaVersion":1,"name":"r","tag":"t","fsLayers":[{"blobSum":%q}],"history":[],"signatures":[]}`, layer)
	put := func(mediaType, manifest string) *http.Response {
		return f.do("PUT", "/v2/r/manifests/t", strings.NewReader(manifest), "Content-Type", mediaType)
	}
	f.want(put(dockerSchema1, schema1), 400, "MANIFEST_INVALID", dockerSchema1, imageManifest, imageIndex)
	f.want(put("application/vnd.docker.distribution.manifest.v1+json", schema1), 400, "MANIFEST_INVALID")
	f.want(put("application/json", schema1), 400, "MANIFEST_INVALID")
	f.want(put(imageManifest, schema1), 400, "MANIFEST_INVALID", "schemaVersion")
	f.want(put(imageIndex, schema1), 400, "MANIFEST_INVALID", "schemaVersion")
	f.want(put("", schema1), 400, "MANIFEST_INVALID")
	f.want(f.do("GET", "/v2/r/manifests/t", nil), 404)
}

// BuildKit exports caches as an index whose entries are layers and a config.
func TestAnIndexMayNameBlobs(t *testing.T) {
	f := open0(t)
	entry := func(mediaType string, d digest.Digest) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1}`, mediaType, d)
	}
	index := func(entries ...string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, imageIndex, strings.Join(entries, ","))
	}
	put := func(tag, manifest string) *http.Response {
		return f.do("PUT", "/v2/cache/manifests/"+tag, strings.NewReader(manifest), "Content-Type", imageIndex)
	}
	layer, config := f.pushBlob("cache", "layer"), f.pushBlob("cache", "{}")
	image := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"c","digest":%q,"size":2},"layers":[]}`, config)
	f.want(f.putManifest("/v2/cache/manifests/"+digest.FromString(image).String(), image), 201)
	cache := index(entry("application/vnd.oci.image.layer.v1.tar+zstd", layer), entry("application/vnd.buildkit.cacheconfig.v0", config), entry(imageManifest, digest.FromString(image)))
	f.want(put("export", cache), 201)
	f.collect(4)
	f.want(f.do("GET", "/v2/cache/manifests/export", nil), 200, cache)
	f.want(f.do("GET", "/v2/cache/blobs/"+layer.String(), nil), 200, "layer")
	f.want(f.do("GET", "/v2/cache/blobs/"+config.String(), nil), 200, "{}")
	f.want(f.do("GET", "/v2/cache/manifests/"+digest.FromString(image).String(), nil), 200, image)
	f.wantNoProblems()

	// What is named as a manifest must be one, or nobody can pull it.
	f.want(put("wrong", index(entry(imageManifest, layer))), 404, "MANIFEST_BLOB_UNKNOWN", layer.String())
	f.want(put("wrong", index(entry("application/vnd.oci.image.layer.v1.tar", digest.FromString("absent")))), 404, "MANIFEST_BLOB_UNKNOWN", digest.FromString("absent").String())
}

// Layers that lie elsewhere need not be pushed; those that were are kept.
func TestLayersThatLieElsewhere(t *testing.T) {
	f := open0(t)
	config, pushed := f.pushBlob("windows", "{}"), f.pushBlob("windows", "pushed all the same")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"c","digest":%q,"size":2},"layers":[{"mediaType":"a/b","digest":%q,"urls":["https://example.com"]},{"mediaType":"a/b","digest":%q,"urls":["https://example.com"]}]}`,
		config, pushed, digest.FromString("elsewhere"))
	f.want(f.putManifest("/v2/windows/manifests/t", manifest), 201)
	f.collect(4)
	f.want(f.do("GET", "/v2/windows/blobs/"+pushed.String(), nil), 200, "pushed all the same")
	f.wantNoProblems()
}
