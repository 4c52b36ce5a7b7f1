package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
)

// Version is a version of a pack with all that names it.
type Version struct {
	Name string `json:"name"`
	// Tag is the version's own; empty for what no version's tag names any more.
	Tag   string `json:"tag,omitempty"`
	Group string `json:"group,omitempty"`
	// Parents are the parent tags that stand for it, and Aliases its other tags.
	Parents []string      `json:"parents,omitempty"`
	Aliases []string      `json:"aliases,omitempty"`
	Digest  digest.Digest `json:"digest"`
	// Size is how many bytes its archive has. Registries that are no pack registries do not say who pushed it, and when.
	Size   int64      `json:"size,omitempty"`
	Pushed *time.Time `json:"pushed,omitempty"`
	By     string     `json:"by,omitempty"`
}

// TagChange is one in what a tag names.
type TagChange struct {
	Tag  string    `json:"tag"`
	Time time.Time `json:"time"`
	// From is what it named before, and To what it named then; empty for nothing.
	From digest.Digest `json:"from,omitempty"`
	To   digest.Digest `json:"to,omitempty"`
	By   string        `json:"by,omitempty"`
	// Message says why.
	Message string `json:"message,omitempty"`
}

// tagDetails is a tag with what is known of it.
type tagDetails struct {
	TagInfo
	size    int64
	pushed  *time.Time
	by      string
	history []TagChange
}

// Versions returns a pack's versions, by group and the newest first, and then what only other names name.
func (c *Client) Versions(ctx context.Context, name string) ([]Version, error) {
	tags, err := c.tagDetails(ctx, name)
	if err != nil {
		return nil, err
	}
	return versionsOf(name, tags), nil
}

// versionsOf puts tags that name the same together.
func versionsOf(name string, tags []tagDetails) []Version {
	var list []Version
	at := map[digest.Digest]int{}
	for _, t := range tags {
		i, known := at[t.Digest]
		if !known || !t.Alias {
			i = len(list)
			at[t.Digest] = i
			list = append(list, Version{Name: name, Digest: t.Digest, Size: t.size, Pushed: t.pushed, By: t.by})
		}
		if t.Alias {
			list[i].Aliases = append(list[i].Aliases, t.Tag)
			continue
		}
		list[i].Tag, list[i].Group, list[i].Parents = t.Tag, t.Group, t.Parents
	}
	return list
}

// AllVersions returns the versions of every pack.
func (c *Client) AllVersions(ctx context.Context) ([]Version, error) {
	names, err := c.Names(ctx)
	if err != nil {
		return nil, err
	}
	found, err := each(ctx, names, func(ctx context.Context, name string) ([]Version, error) {
		tags, err := c.tagDetailsOf(ctx, name)
		return versionsOf(name, tags), err
	})
	return slices.Concat(found...), err
}

// tagDetails returns a pack's tags, in the order of pack.SortTags; none is an error.
func (c *Client) tagDetails(ctx context.Context, name string) ([]tagDetails, error) {
	tags, err := c.tagDetailsOf(ctx, name)
	if err == nil && len(tags) == 0 {
		err = notFound("there is no pack %s at %s", name, c.server.Host)
	}
	return tags, err
}

// tagDetailsOf returns no tags for a pack that is not there.
func (c *Client) tagDetailsOf(ctx context.Context, name string) ([]tagDetails, error) {
	tags, known, err := c.serverTagDetails(ctx, name)
	if err != nil || known {
		return tags, err
	}
	return c.tagsByManifests(ctx, name)
}

// tagsByManifests finds out what every registry can answer, with a request for each tag.
func (c *Client) tagsByManifests(ctx context.Context, name string) ([]tagDetails, error) {
	names, err := c.tags(ctx, name)
	if err != nil {
		return nil, err
	}
	repo, err := c.repository(ctx, name)
	if err != nil {
		return nil, err
	}
	pack.SortTags(names)
	list, err := each(ctx, names, func(ctx context.Context, tag string) (tagDetails, error) {
		v, err := c.version(ctx, repo, tag)
		if errors.Is(err, errNoPack) {
			d, err := repo.Resolve(ctx, tag)
			return tagDetails{TagInfo: tagInfo(names, tag, d.Digest)}, c.explain(err)
		}
		if v == nil || err != nil {
			return tagDetails{}, err // deleted meanwhile
		}
		return tagDetails{TagInfo: tagInfo(names, tag, v.manifest.Digest), size: v.layer.Size}, nil
	})
	return slices.DeleteFunc(list, func(t tagDetails) bool { return t.Tag == "" }), err
}

// tagInfo is what a tag's form, and the others, say of it.
func tagInfo(tags []string, tag string, d digest.Digest) TagInfo {
	info := TagInfo{Tag: tag, Group: pack.Group(tag), Digest: d, Alias: !pack.IsVersionTag(tag)}
	for _, parent := range pack.Parents(tag) {
		if pack.Newest(tags, parent) == tag {
			info.Parents = append(info.Parents, parent)
		}
	}
	return info
}
