package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"

	"packregistry.dev/pack"
)

// Copied is what came of a tag that was copied.
type Copied struct {
	Name      string        `json:"name"`
	Tag       string        `json:"tag"`
	Digest    digest.Digest `json:"digest"`
	Unchanged bool          `json:"unchanged"`
}

// Copy copies a pack to another registry, with what refers to it (signatures, attestations): the version of a tag or parent tag;
// with none, all tags; with a constraint such as ">=1.2", the versions that fulfil it. Each version keeps its digest. What is
// there already is left as it is; a tag that names another version there is an ErrRefused unless force is set.
func (c *Client) Copy(ctx context.Context, name, reference, constraint string, to *Client, force bool, report func(Copied)) error {
	tags, err := c.tagsToCopy(ctx, name, reference, constraint)
	if err != nil {
		return err
	}
	from, err := c.repository(ctx, name)
	if err != nil {
		return err
	}
	target, err := to.repository(ctx, name)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		copied, err := c.copyTag(ctx, from, to, target, name, tag, force)
		if err != nil {
			return err
		}
		report(copied)
	}
	return nil
}

func (c *Client) tagsToCopy(ctx context.Context, name, reference, constraint string) ([]string, error) {
	if reference != "" {
		_, v, err := c.find(ctx, name, reference)
		if err != nil {
			return nil, err
		}
		if v.tag == "" {
			return nil, errors.New("name what to copy by a tag: a digest alone would have no name at the other registry")
		}
		return []string{v.tag}, nil
	}
	tags, err := c.tags(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, notFound("there is no pack %s at %s", name, c.server.Host)
	}
	pack.SortTags(tags) // versions come before their aliases, which are given to packs that are there only
	if constraint == "" {
		return tags, nil
	}
	wanted, err := semver.NewConstraint(constraint)
	if err != nil {
		return nil, fmt.Errorf("versions %q: %w; write it as '>=1.2, <2'", constraint, err)
	}
	wanted.IncludePrerelease = true
	var chosen []string
	for _, tag := range tags {
		if v, err := semver.NewVersion(pack.VersionOf(tag)); err == nil && wanted.Check(v) {
			chosen = append(chosen, tag)
		}
	}
	if len(chosen) == 0 {
		return nil, notFound("no version of %s is %s; the newest is %s", name, constraint, tags[0])
	}
	return chosen, nil
}

func (c *Client) copyTag(ctx context.Context, from *remote.Repository, to *Client, target *remote.Repository, name, tag string, force bool) (Copied, error) {
	d, err := from.Resolve(ctx, tag)
	if err != nil {
		return Copied{}, c.explain(err)
	}
	p := placing{from: from, target: target, force: force}
	if to.server.Host == c.server.Host {
		p.mountFrom = from.Reference.Repository
	}
	return to.place(ctx, p, entry{name, tag, d})
}

// placing is how versions come into a repository.
type placing struct {
	from   content.ReadOnlyGraphStorage
	target *remote.Repository
	// mountFrom is another repository of the same registry, which content need not be sent from.
	mountFrom string
	force     bool
}

func (p placing) options() oras.ExtendedCopyGraphOptions {
	o := oras.DefaultExtendedCopyGraphOptions
	if p.mountFrom != "" {
		o.MountFrom = func(context.Context, ocispec.Descriptor) ([]string, error) { return []string{p.mountFrom}, nil }
	}
	return o
}

// place copies a version into a repository, with what refers to it, and gives it its tag then: who sees the tag finds all of it.
// What is there already is left as it is.
func (c *Client) place(ctx context.Context, p placing, e entry) (Copied, error) {
	target := p.target
	d := e.descriptor
	copied := Copied{Name: e.name, Tag: e.tag, Digest: d.Digest}
	wanted := e.tag
	if wanted == "" {
		wanted = d.Digest.String()
	}
	there, err := target.Resolve(ctx, wanted)
	switch {
	case err == nil:
		copied.Unchanged = there.Digest == d.Digest
		if !copied.Unchanged && !p.force {
			return copied, refused("%s:%s is %s at %s; --force replaces it", e.name, e.tag, there.Digest, c.server.Host)
		}
	case !errors.Is(err, errdef.ErrNotFound):
		return copied, c.explain(err)
	}
	if err := oras.ExtendedCopyGraph(ctx, p.from, target, d, p.options()); err != nil {
		return copied, c.explainPush(e.name, wanted, err)
	}
	if copied.Unchanged || e.tag == "" {
		return copied, nil
	}
	if p.force {
		ctx = context.WithValue(ctx, forceKey{}, true)
	}
	return copied, c.explainPush(e.name, e.tag, target.Tag(ctx, d, e.tag))
}
