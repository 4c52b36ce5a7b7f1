package client

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
)

// Selection is what of a pack is meant: a version, by tag, parent tag or digest; the versions that fulfil a constraint; or all.
type Selection struct {
	Name, Reference, Versions string
}

// Save says how to write an image layout.
type Save struct {
	// Path is the file, or the folder where it ends in a slash.
	Path string
	// PartSize splits the file into PATH.000, PATH.001, …; 0 does not.
	PartSize int64
	// Since is what the other side has already.
	Since Lock
}

// Saved is what an image layout holds.
type Saved struct {
	Path string `json:"path"`
	// Parts is how many files it is, where it is split.
	Parts    int      `json:"parts,omitempty"`
	Versions []Copied `json:"versions"`
	// Blobs is how many manifests and blobs were written, Size their bytes, and LeftOut how many the other side has.
	Blobs   int   `json:"blobs"`
	Size    int64 `json:"size"`
	LeftOut int   `json:"leftOut"`
}

// saving is the content that is to be saved, and from where.
type saving struct {
	entries []entry
	blobs   map[digest.Digest]source
	saved   *Saved
}

type source struct {
	repository *remote.Repository
	descriptor ocispec.Descriptor
}

// Save writes versions, with what refers to them, into an OCI image layout. The same content gives the same bytes. The file
// appears when it is complete.
func (c *Client) Save(ctx context.Context, selections []Selection, o Save) (*Saved, error) {
	s := &saving{blobs: map[digest.Digest]source{}, saved: &Saved{Path: o.Path, Versions: []Copied{}}}
	for _, selection := range selections {
		if err := c.collect(ctx, s, selection, o.Since); err != nil {
			return nil, err
		}
	}
	w, err := newLayoutWriter(o)
	if err != nil {
		return nil, err
	}
	defer w.abort()
	if err := w.begin(indexOf(s.entries)); err != nil {
		return nil, err
	}
	for _, d := range slices.SortedFunc(maps.Values(s.blobs), func(a, b source) int {
		return strings.Compare(a.descriptor.Digest.String(), b.descriptor.Digest.String())
	}) {
		err := w.add(blobPath(d.descriptor.Digest), d.descriptor.Size, func(to io.Writer) error { return c.copyContent(ctx, to, d) })
		if err != nil {
			return nil, err
		}
		s.saved.Blobs++
		s.saved.Size += d.descriptor.Size
	}
	s.saved.Parts, err = w.commit()
	return s.saved, err
}

// copyContent writes what a registry has, verified.
func (c *Client) copyContent(ctx context.Context, to io.Writer, s source) error {
	r, err := s.repository.Fetch(ctx, s.descriptor)
	if err != nil {
		return c.explain(err)
	}
	defer r.Close()
	if err := download(ctx, to, s.descriptor, r); err != nil {
		return fmt.Errorf("download %s: %w", s.descriptor.Digest, err)
	}
	return nil
}

// collect finds the content of a selection.
func (c *Client) collect(ctx context.Context, s *saving, selection Selection, since Lock) error {
	repo, err := c.repository(ctx, selection.Name)
	if err != nil {
		return err
	}
	versions, err := c.selected(ctx, repo, selection)
	if err != nil {
		return err
	}
	g := newGraph(repo)
	for _, v := range versions {
		s.entries = append(s.entries, v)
		s.saved.Versions = append(s.saved.Versions, Copied{Name: v.name, Tag: v.tag, Digest: v.descriptor.Digest})
		referrers, err := referrersOf(ctx, repo, v.descriptor)
		if err != nil {
			return c.explain(err)
		}
		for _, r := range referrers {
			s.entries = append(s.entries, entry{name: v.name, descriptor: r})
		}
		for _, d := range append(referrers, v.descriptor) {
			err := g.add(ctx, d, func(d ocispec.Descriptor) error {
				switch {
				case !isManifest(d) && since.has(selection.Name, d.Digest):
					s.saved.LeftOut++
				default:
					s.blobs[d.Digest] = source{repo, plain(d)}
				}
				return nil
			})
			if err != nil {
				return c.explain(err)
			}
		}
	}
	return nil
}

// selected resolves a selection to versions.
func (c *Client) selected(ctx context.Context, repo *remote.Repository, s Selection) ([]entry, error) {
	if strings.Contains(s.Reference, ":") {
		_, v, err := c.find(ctx, s.Name, s.Reference)
		if err != nil {
			return nil, err
		}
		return []entry{{name: s.Name, descriptor: plain(v.manifest)}}, nil
	}
	tags, err := c.tagsToCopy(ctx, s.Name, s.Reference, s.Versions)
	if err != nil {
		return nil, err
	}
	return each(ctx, tags, func(ctx context.Context, tag string) (entry, error) {
		d, err := repo.Resolve(ctx, tag)
		return entry{name: s.Name, tag: tag, descriptor: plain(d)}, c.explain(err)
	})
}

var _ content.ReadOnlyStorage = (*remote.Repository)(nil)
