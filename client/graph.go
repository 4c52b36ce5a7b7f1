package client

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// graph is content that manifests lead to, each once.
type graph struct {
	source content.ReadOnlyStorage
	nodes  map[digest.Digest]ocispec.Descriptor
}

func newGraph(source content.ReadOnlyStorage) *graph {
	return &graph{source, map[digest.Digest]ocispec.Descriptor{}}
}

// add adds what a descriptor leads to, itself first, and calls visit for what was not there before.
func (g *graph) add(ctx context.Context, root ocispec.Descriptor, visit func(ocispec.Descriptor) error) error {
	waiting := []ocispec.Descriptor{root}
	for len(waiting) > 0 {
		d := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		if known, ok := g.nodes[d.Digest]; ok {
			if known.Size != d.Size {
				return refused("%s has two sizes: %d and %d bytes", d.Digest, known.Size, d.Size)
			}
			continue
		}
		if len(g.nodes) >= maxContent {
			return refused("%s leads to more than %d manifests and blobs", root.Digest, maxContent)
		}
		if err := d.Digest.Validate(); err != nil {
			return refused("%.100q: %v", d.Digest, err)
		}
		if d.Size < 0 {
			return checkSize(d.Digest.String(), d.Size, 0)
		}
		g.nodes[d.Digest] = plain(d)
		if err := visit(d); err != nil {
			return err
		}
		if !isManifest(d) {
			continue
		}
		if err := checkSize("the manifest "+d.Digest.String(), d.Size, maxManifest); err != nil {
			return err
		}
		next, err := content.Successors(ctx, g.source, d)
		if err != nil {
			return err
		}
		waiting = append(waiting, next...)
	}
	return nil
}

// isManifest: what oras-go knows to lead to other content.
func isManifest(d ocispec.Descriptor) bool {
	return slices.Contains([]string{
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, "application/vnd.oci.artifact.manifest.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
	}, d.MediaType)
}

// referrersOf returns all that refers to a manifest, and to that in turn.
func referrersOf(ctx context.Context, source content.PredecessorFinder, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	known := map[digest.Digest]bool{d.Digest: true}
	waiting := []ocispec.Descriptor{d}
	for len(waiting) > 0 {
		next, err := source.Predecessors(ctx, waiting[0])
		if err != nil {
			return nil, err
		}
		waiting = waiting[1:]
		for _, r := range next {
			if known[r.Digest] {
				continue
			}
			if len(known) > maxContent {
				return nil, refused("more than %d manifests refer to %s", maxContent, d.Digest)
			}
			known[r.Digest] = true
			found = append(found, plain(r))
			waiting = append(waiting, r)
		}
	}
	return found, nil
}
