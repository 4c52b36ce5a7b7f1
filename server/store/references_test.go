package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/internal/testfuzz"
)

const schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

func TestFormatsOfManifests(t *testing.T) {
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	named := func(kind ReferenceKind, optional bool, d digest.Digest) string { return fmt.Sprint(kind, optional, d) }
	for name, tt := range map[string]struct {
		mediaType, text string
		want            []string
		err             string
	}{
		"image": {ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"layers":[{"digest":%q}],"subject":{"digest":%q}}`, a, b, c),
			[]string{named(ToBlob, false, a), named(ToBlob, false, b)}, ""},
		"a layer that lies elsewhere": {mediaTypeDockerManifest,
			fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":%q},{"urls":["x"],"digest":%q}]}`, a, b, c),
			[]string{named(ToBlob, false, a), named(ToBlob, true, b), named(ToBlob, true, c)}, ""},
		"index": {mediaTypeDockerList, fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q},{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q},{"digest":%q}]}`,
			mediaTypeDockerManifest, a, b, c), []string{named(ToManifest, false, a), named(ToEither, false, b), named(ToEither, false, c)}, ""},
		"artifact": {mediaTypeOCIArtifact, fmt.Sprintf(`{"blobs":[{"digest":%q}],"subject":{"digest":%q}}`, a, c), []string{named(ToBlob, false, a)}, ""},

		"Docker's schema 1":         {schema1, fmt.Sprintf(`{"schemaVersion":1,"fsLayers":[{"blobSum":%q}]}`, a), nil, "application/vnd.oci.image.manifest.v1+json"},
		"any other":                 {"application/json", `{}`, nil, "not accepted; these are:"},
		"schema 1 as an index":      {ocispec.MediaTypeImageIndex, fmt.Sprintf(`{"schemaVersion":1,"fsLayers":[{"blobSum":%q}]}`, a), nil, "schemaVersion 2, not 1"},
		"schema 1 as an image":      {ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":1,"fsLayers":[{"blobSum":%q}]}`, a), nil, "schemaVersion 2, not 1"},
		"two minds":                 {ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"}`, nil, "says of itself"},
		"an image with manifests":   {ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"manifests":[{"digest":%q}]}`, a, b), nil, "names no manifests"},
		"an image without config":   {ocispec.MediaTypeImageManifest, `{"schemaVersion":2}`, nil, "config"},
		"an index with layers":      {ocispec.MediaTypeImageIndex, fmt.Sprintf(`{"schemaVersion":2,"layers":[{"digest":%q}]}`, a), nil, "neither config"},
		"an artifact with layers":   {mediaTypeORASArtifact, fmt.Sprintf(`{"layers":[{"digest":%q}]}`, a), nil, "names blobs"},
		"a digest that is none":     {ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}`, nil, "no sha256 or sha512 digest"},
		"a key in another case":     {ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"layers":[{"digest":%q}],"Layers":[]}`, a, b), nil, `"Layers" must be written "layers"`},
		"a key twice":               {ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"layers":[{"digest":%q}],"layers":[]}`, a, b), nil, `"layers" stands twice`},
		"a key twice below":         {ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"digest":%q}}`, a, b), nil, `"digest" stands twice`},
		"annotations in any case":   {ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"annotations":{"a":"","A":""}}`, nil, ""},
		"more than are read":        {ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[` + strings.Repeat(`{},`, 10_000) + `{}]}`, nil, "more than 10000 members in one array"},
		"more than are read in two": {ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[` + strings.Repeat(`{},`, 6_000) + `{}],"layers":[` + strings.Repeat(`{},`, 6_000) + `{}]}`, nil, "names 12002 things; a manifest may name 10000"},
		"more than is kept":         {ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"x":[` + strings.Repeat(`[`+strings.Repeat(`1,`, 9_000)+`1],`, 100) + `1]}`, nil, "more than 100000 values"},
		"no JSON":                   {ocispec.MediaTypeImageIndex, `x`, nil, "not a JSON object"},
		"fields of another type":    {ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"layers":"all"}`, nil, "not a JSON object"},
		"neither digest nor entry":  {ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[{}]}`, nil, "no sha256 or sha512 digest"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := ParseManifest(tt.mediaType, []byte(tt.text))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			must(t, err)
			var got []string
			for _, ref := range m.References() {
				got = append(got, named(ref.Kind, ref.Optional, ref.Digest))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("names %v, want %v", got, tt.want)
			}
		})
	}
}

// Manifests of formats that are no longer accepted may be in a store. What they could name stays, and is missed when it is
// gone.
func TestCollectKeepsWhatAManifestOfAnotherFormatCouldName(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("old")
		tagged := func(tag, mediaType, text string) {
			d := digest.FromString(text)
			must(t, r.PutManifest(ctx, PutManifest{Digest: d, MediaType: mediaType, Content: []byte(text)}))
			must(t, r.Tag(ctx, tag, d, "", true))
		}
		layer, err := upload(ctx, r, "layer")
		must(t, err)
		deep, err := upload(ctx, r, "deep")
		must(t, err)
		foreign, err := upload(ctx, r, "foreign layer that was pushed")
		must(t, err)
		config, err := upload(ctx, r, "{}")
		must(t, err)
		child := `{"n":1}`
		must(t, r.PutManifest(ctx, PutManifest{Digest: digest.FromString(child), MediaType: "a/b", Content: []byte(child)}))
		tagged("schema1", schema1, fmt.Sprintf(`{"schemaVersion":1,"fsLayers":[{"blobSum":%q}]}`, layer))
		tagged("invented", "application/x", fmt.Sprintf(`{"a":{"b":[["%s"],{"c":"%s"}]}}`, deep, digest.FromString(child)))
		tagged("windows", ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"layers":[{"digest":%q,"urls":["https://example.com"]}]}`, config, foreign))
		for range 4 {
			collect(t, s, Collection{})
		}
		for _, d := range []digest.Digest{layer, deep, foreign, config} {
			if has, err := r.HasBlob(ctx, d); !has || err != nil {
				t.Errorf("what a tagged manifest names is gone: %s, %v", d, err)
			}
		}
		_, err = r.Manifest(ctx, digest.FromString(child))
		must(t, err)
		if _, problems := verify(t, s, false); len(problems) != 0 {
			t.Errorf("problems: %v", problems)
		}
		for _, d := range []digest.Digest{layer, deep, foreign} {
			must(t, r.DeleteBlob(ctx, d))
		}
		if _, problems := verify(t, s, false); !slices.Equal(problems, []string{"missing-blob old " + layer.String()}) {
			t.Errorf("problems: %v", problems)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add(ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}`))
	f.Add(schema1, []byte(`{"fsLayers":[{"blobSum":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}]}`))
	for _, text := range hostileManifests() {
		f.Add(ocispec.MediaTypeImageManifest, []byte(text))
	}
	f.Fuzz(func(t *testing.T, mediaType string, text []byte) {
		c, err := ParseManifest(mediaType, text)
		m := &Manifest{MediaType: mediaType, Content: text}
		testfuzz.Proportionate(t, len(text), func() {
			ParseManifest(mediaType, text) //nolint:errcheck // whatever it says
			m.references()
		})
		for _, ref := range m.references() {
			if !SupportedDigest(ref.Digest) {
				t.Errorf("names %q", ref.Digest)
			}
		}
		if err == nil && (!json.Valid(text) || len(m.references()) != len(c.References())) {
			t.Errorf("accepted %q, and the collector reads it otherwise", text)
		}
	})
}

// A stored manifest that would be refused today, since its keys stand twice, keeps what each of them names.
func TestWhatADoubledKeyHidesIsKept(t *testing.T) {
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	text := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"layers":[{"digest":%q}],"Layers":[],"layers":[],"subject":{"digest":%q}}`, a, b, c)
	m := &Manifest{MediaType: ocispec.MediaTypeImageManifest, Content: []byte(text)}
	var got []digest.Digest
	for _, ref := range m.references() {
		got = append(got, ref.Digest)
	}
	if want := []digest.Digest{a, b}; !slices.Equal(got, want) {
		t.Errorf("keeps %v, want %v", got, want)
	}
}
