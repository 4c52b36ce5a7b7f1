package client

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/pack"
)

// An OCI image layout holds several packs: index.json lists every version that has a tag, each under the reference NAME/TAG,
// versions that were chosen by digest, and what refers to versions (signatures, attestations), which have no reference. NAME/TAG and
// not NAME:TAG, since oras takes what follows the last colon of a command line's word for the reference.

// annotationName says which pack a manifest of an image layout belongs to.
const annotationName = "dev.packregistry.name"

// Bounds on what a layout of somebody else may hold.
const (
	maxLayoutIndex = 32 << 20
	maxContent     = 200_000
)

// entry is a manifest of a layout's index: the version of a pack's tag, or one without a tag.
type entry struct {
	name, tag  string
	descriptor ocispec.Descriptor
}

// plain is a descriptor without what a registry's answer may say besides, so that a layout depends on nothing but its content.
func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// indexOf makes a layout's index of entries: sorted, and each once.
func indexOf(entries []entry) ocispec.Index {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.tag, b.tag), strings.Compare(a.descriptor.Digest.String(), b.descriptor.Digest.String()))
	})
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	index.SchemaVersion = 2
	seen := map[string]bool{}
	for _, e := range entries {
		key := e.name + " " + e.tag + " " + e.descriptor.Digest.String()
		if seen[key] {
			continue
		}
		seen[key] = true
		d := plain(e.descriptor)
		d.Annotations = map[string]string{annotationName: e.name}
		if e.tag != "" {
			d.Annotations[ocispec.AnnotationRefName] = e.name + "/" + e.tag
		}
		index.Manifests = append(index.Manifests, d)
	}
	return index
}

// entriesOf reads an index that somebody else may have made: NAME/TAG, NAME:TAG and the path of a registry before them are
// understood.
func entriesOf(index ocispec.Index) ([]entry, error) {
	entries := make([]entry, 0, len(index.Manifests))
	for i, d := range index.Manifests {
		e := entry{name: d.Annotations[annotationName], descriptor: plain(d)}
		if reference := d.Annotations[ocispec.AnnotationRefName]; reference != "" {
			name, tag := splitLayoutReference(reference)
			if e.name == "" {
				e.name = name
			}
			e.tag = tag
		}
		if problem := checkEntry(e); problem != "" {
			return nil, refused("index.json, manifest %d (%s): %s", i, d.Digest, problem)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func splitLayoutReference(reference string) (name, tag string) {
	at := strings.LastIndexAny(reference, ":/")
	if at < 0 {
		return "", reference
	}
	path := reference[:at]
	return path[strings.LastIndex(path, "/")+1:], reference[at+1:]
}

func checkEntry(e entry) string {
	switch {
	case e.name == "":
		return fmt.Sprintf("which pack it is of is not said; give it the annotation %s, or the reference NAME/TAG", annotationName)
	case !pack.IsName(e.name):
		return fmt.Sprintf("%.100q is no name of a pack", e.name)
	case e.tag != "" && (!pack.IsTag(e.tag) || pack.IsParentTag(e.tag)):
		return fmt.Sprintf("%.200q is no tag", e.tag)
	case e.descriptor.Digest.Validate() != nil:
		return "its digest is not valid"
	}
	if err := checkSize("it", e.descriptor.Size, maxManifest); err != nil {
		return err.Error()
	}
	return ""
}

// blobPath is where a layout keeps content.
func blobPath(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}
