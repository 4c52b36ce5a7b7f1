package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/internal/strictjson"
)

// This file is the one place that knows what a manifest names. The API asks it before it accepts a manifest, the collector
// before it removes anything, and the verification when it looks whether all is there: what one of them overlooked, another
// would remove.

// Media types of manifests besides those of the OCI image specification 1.1. Docker's say the same as OCI's; the artifact
// manifests are what OCI's release candidates and ORAS 0.x had before images could be artifacts.
const (
	mediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeOCIArtifact    = "application/vnd.oci.artifact.manifest.v1+json"
	mediaTypeORASArtifact   = "application/vnd.cncf.oras.artifact.manifest.v1+json"
)

// Content is the part of a manifest or an index that the registry looks at. Everything else is kept as it came.
type Content struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	ArtifactType  string               `json:"artifactType"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	Blobs         []ocispec.Descriptor `json:"blobs"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Subject       *ocispec.Descriptor  `json:"subject"`
	Annotations   map[string]string    `json:"annotations"`
}

// formats are the manifests that are understood: by media type, what is wrong with one of them that parses.
var formats = map[string]func(c *Content) error{
	ocispec.MediaTypeImageManifest: validateImage,
	mediaTypeDockerManifest:        validateImage,
	ocispec.MediaTypeImageIndex:    validateIndex,
	mediaTypeDockerList:            validateIndex,
	mediaTypeOCIArtifact:           validateArtifact,
	mediaTypeORASArtifact:          validateArtifact,
}

// ManifestMediaTypes are the media types of the manifests that are accepted, in order.
func ManifestMediaTypes() []string {
	types := make([]string, 0, len(formats))
	for t := range formats {
		types = append(types, t)
	}
	slices.Sort(types)
	return types
}

func validateImage(c *Content) error {
	switch {
	case c.SchemaVersion != 2:
		return fmt.Errorf("an image manifest has the schemaVersion 2, not %d", c.SchemaVersion)
	case c.Config == nil:
		return errors.New("an image manifest names a config")
	case len(c.Manifests) > 0:
		return errors.New("an image manifest names no manifests")
	}
	return nil
}

func validateIndex(c *Content) error {
	switch {
	case c.SchemaVersion != 2:
		return fmt.Errorf("an index has the schemaVersion 2, not %d", c.SchemaVersion)
	case c.Config != nil || len(c.Layers) > 0 || len(c.Blobs) > 0:
		return errors.New("an index has neither config, layers nor blobs of its own")
	}
	return nil
}

func validateArtifact(c *Content) error {
	if c.Config != nil || len(c.Layers) > 0 || len(c.Manifests) > 0 {
		return errors.New("an artifact manifest names blobs, and neither config, layers nor manifests")
	}
	return nil
}

// What a manifest may become in memory: in the text an empty layer takes three bytes. The text is looked through, and left at
// the bound, before anything is made of it.
const maxDescriptors = 10_000

var manifestLimits = strictjson.Limits{Values: 10 * maxDescriptors, Members: maxDescriptors, Depth: 32}

// ParseManifest takes a manifest apart, as every other reader of it does: keys have one spelling and stand once. It refuses every format whose references are not known, since the collector would
// remove what such a manifest needs.
func ParseManifest(mediaType string, text []byte) (*Content, error) {
	validate := formats[mediaType]
	if validate == nil {
		return nil, fmt.Errorf("manifests of the media type %.100q are not accepted; these are: %s", mediaType, strings.Join(ManifestMediaTypes(), ", "))
	}
	c := &Content{}
	if err := strictjson.Unmarshal(text, c, manifestLimits); err != nil {
		return nil, fmt.Errorf("not a JSON object of the media type %s: %.300s", mediaType, err.Error()) // which may quote a number of any length
	}
	if n := len(c.Layers) + len(c.Blobs) + len(c.Manifests); n > maxDescriptors {
		return nil, fmt.Errorf("names %d things; a manifest may name %d", n, maxDescriptors)
	}
	if c.MediaType != "" && c.MediaType != mediaType {
		return nil, fmt.Errorf("said to be %.100q, says of itself that it is %.100q", mediaType, c.MediaType)
	}
	if err := validate(c); err != nil {
		return nil, err
	}
	for _, ref := range c.References() {
		if !SupportedDigest(ref.Digest) {
			return nil, fmt.Errorf("names the digest %.150q, which is no sha256 or sha512 digest", ref.Digest)
		}
	}
	return c, nil
}

// DeclaredMediaType is what a manifest says that it is. Those of OCI need not say it: guess is what it looks like then.
func DeclaredMediaType(text []byte) (declared, guess string, err error) {
	var self struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(text, &self); err != nil {
		return "", "", fmt.Errorf("not a JSON object: %.300s", err.Error())
	}
	guess = ocispec.MediaTypeImageManifest
	if self.Manifests != nil {
		guess = ocispec.MediaTypeImageIndex
	}
	return self.MediaType, guess, nil
}

// ReferenceKind says as what a manifest names something.
type ReferenceKind int

// What a manifest names is a blob (a config, a layer), a manifest (an index's entry that says so), or either: an index
// may list layers and configs too, as BuildKit's exported caches do.
const (
	ToBlob ReferenceKind = iota
	ToManifest
	ToEither
)

// Reference is what a manifest names.
type Reference struct {
	ocispec.Descriptor
	Kind ReferenceKind
	// Optional is set where it need not be there: a layer that may stay elsewhere, or a digest whose meaning is not known.
	// Where it is there the manifest needs it like the others.
	Optional bool
}

// References returns everything that a manifest names but its subject.
func (c *Content) References() []Reference {
	refs := make([]Reference, 0, 1+len(c.Layers)+len(c.Blobs)+len(c.Manifests))
	add := func(kind ReferenceKind, list ...ocispec.Descriptor) {
		for _, d := range list {
			refs = append(refs, Reference{Descriptor: d, Kind: kind, Optional: kind != ToManifest && nondistributable(d)})
		}
	}
	if c.Config != nil {
		add(ToBlob, *c.Config)
	}
	add(ToBlob, c.Layers...)
	add(ToBlob, c.Blobs...)
	for _, d := range c.Manifests {
		if formats[d.MediaType] != nil {
			add(ToManifest, d)
		} else {
			add(ToEither, d)
		}
	}
	return refs
}

// nondistributable layers may stay where they are.
func nondistributable(d ocispec.Descriptor) bool {
	return strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".foreign.") || len(d.URLs) > 0
}

// references returns what a stored manifest names. Of a manifest that would not be accepted today that is every digest in
// it, whatever it may mean: what is kept too long is harmless.
func (m *Manifest) references() []Reference {
	if c, err := ParseManifest(m.MediaType, m.Content); err == nil {
		return c.References()
	}
	if !json.Valid(m.Content) {
		return nil // what is no JSON names nothing
	}
	var refs []Reference
	decoder := json.NewDecoder(bytes.NewReader(m.Content))
	eachString(decoder, "", func(key, value string) {
		if SupportedDigest(digest.Digest(value)) {
			named := key == "digest" || key == "blobSum" // as descriptors and Docker's schema 1 name content
			refs = append(refs, Reference{Descriptor: ocispec.Descriptor{Digest: digest.Digest(value)}, Kind: ToEither, Optional: !named})
		}
	})
	return refs
}

// eachString calls visit for every string of the next value, also of those that a decoder into a type or a map would pass
// over since their key stands twice, with the key that it or the list around it stands at. What is below a subject is
// passed over. The text must be valid.
func eachString(decoder *json.Decoder, key string, visit func(key, value string)) {
	token, err := decoder.Token()
	if err != nil {
		return
	}
	switch token := token.(type) {
	case string:
		visit(key, token)
	case json.Delim:
		for decoder.More() {
			inner, within := key, visit
			if token == '{' {
				name, err := decoder.Token()
				if err != nil {
					return
				}
				inner, _ = name.(string)
			}
			if inner == "subject" {
				within = func(string, string) {}
			}
			eachString(decoder, inner, within)
		}
		decoder.Token() //nolint:errcheck // the end of what was begun, in a text that is valid
	}
}
