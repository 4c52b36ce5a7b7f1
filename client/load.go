package client

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/pack"
)

// Load puts the packs of an OCI image layout into the registry: a file, its parts, or a folder. All of it is verified before anything
// is sent. What is there already is left as it is, so that a load that was interrupted goes on when it is repeated; a tag that
// names another version is an ErrRefused unless force is set. The lock says what the registry has of these packs then.
func (c *Client) Load(ctx context.Context, file string, force bool, report func(Copied)) (*Lock, error) {
	l, err := openLayout(ctx, file)
	if err != nil {
		return nil, err
	}
	defer l.files.Close() //nolint:errcheck // it was only read
	lacking, graphs, err := l.verify(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for name, missing := range lacking {
		if err := c.checkLeftOut(ctx, name, missing); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	for _, e := range l.inOrder() {
		repo, err := c.repository(ctx, e.name)
		if err != nil {
			return nil, err
		}
		copied, err := c.place(ctx, placing{from: l, target: repo, force: force}, e)
		if err != nil {
			return nil, err
		}
		if !l.referring[e.descriptor.Digest] {
			report(copied)
		}
	}
	lock := &Lock{Packs: map[string][]digest.Digest{}}
	for name, g := range graphs {
		for d := range g.nodes {
			lock.add(name, d)
		}
	}
	lock.sort()
	return lock, nil
}

// inOrder returns the entries with versions first, since their aliases are given to versions that are there only.
func (l *layout) inOrder() []entry {
	entries := slices.Clone(l.entries)
	rank := func(e entry) int {
		switch {
		case e.tag == "":
			return 2
		case pack.IsVersionTag(e.tag):
			return 0
		}
		return 1
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return rank(a) - rank(b) })
	return entries
}

// checkLeftOut checks that the registry has what a layout lacks.
func (c *Client) checkLeftOut(ctx context.Context, name string, missing []ocispec.Descriptor) error {
	repo, err := c.repository(ctx, name)
	if err != nil {
		return err
	}
	there, err := each(ctx, missing, func(ctx context.Context, d ocispec.Descriptor) (bool, error) {
		there, err := repo.Blobs().Exists(ctx, d)
		return there, c.explain(err)
	})
	if err != nil {
		return err
	}
	if i := slices.Index(there, false); i >= 0 {
		return refused("it lacks %s of pack %s, and so does %s: its last part is missing, or it was saved with --since for another registry; copy all parts, or save it again without --since",
			missing[i].Digest, name, c.server.Host)
	}
	return nil
}
