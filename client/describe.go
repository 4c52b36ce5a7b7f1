package client

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"
	"sigs.k8s.io/yaml"

	"packregistry.dev/pack"
)

// Description is all that there is to know of a version.
type Description struct {
	Name   string        `json:"name"`
	Tag    string        `json:"tag,omitempty"`
	Digest digest.Digest `json:"digest"`
	// Archive is the digest of the archive, and Size its bytes.
	Archive digest.Digest `json:"archive"`
	Size    int64         `json:"size"`
	// Pushed is when the version came, and By who pushed it, where the registry says so.
	Pushed *time.Time `json:"pushed,omitempty"`
	By     string     `json:"by,omitempty"`
	// Message says why the version was replaced.
	Message string `json:"message,omitempty"`
	// Tags are all names of the version, and Parents those parent tags that stand for it.
	Tags    []string `json:"tags"`
	Parents []string `json:"parents,omitempty"`
	// Metadata is pack.json as it is.
	Metadata json.RawMessage `json:"metadata"`
	Images   []string        `json:"images,omitempty"`
	Files    []pack.File     `json:"files"`
	Readme   string          `json:"readme,omitempty"`
	// History is what the tags that name the version named when, the newest change first, where the registry says so.
	History []TagChange `json:"history,omitempty"`
}

// Describe describes a version, found by tag, parent tag or digest, or the newest.
func (c *Client) Describe(ctx context.Context, name, reference string) (*Description, error) {
	repo, v, err := c.find(ctx, name, reference)
	if err != nil {
		return nil, err
	}
	tags, err := c.tagDetails(ctx, name)
	if err != nil {
		return nil, err
	}
	file, err := c.fetch(ctx, repo, v.layer)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	a, err := pack.ReadArchive(ctx, file)
	if a == nil {
		return nil, err // what is wrong with its content does not keep it from being described
	}
	d := &Description{
		Name: name, Tag: v.tag, Digest: v.manifest.Digest, Archive: v.archive, Size: v.layer.Size, Message: v.message, Tags: []string{},
		Metadata: a.Browsable[pack.MetadataFile], Images: imagesIn(a.Browsable[pack.ValuesFile]), Files: a.Files, Readme: string(a.Browsable[pack.ReadmeFile]),
	}
	for _, t := range tags {
		if t.Digest != d.Digest {
			continue
		}
		d.Tags = append(d.Tags, t.Tag)
		d.Parents = append(d.Parents, t.Parents...)
		d.History = append(d.History, t.history...)
		if d.Pushed == nil || !t.Alias {
			d.Pushed, d.By = t.pushed, t.by
		}
	}
	slices.SortStableFunc(d.History, func(a, b TagChange) int { return b.Time.Compare(a.Time) })
	return d, nil
}

// imagesIn returns the images that values.yaml lists.
func imagesIn(text []byte) []string {
	var values struct {
		Pack struct {
			Content struct {
				Images []struct {
					Image string `json:"image"`
				} `json:"images"`
			} `json:"content"`
		} `json:"pack"`
	}
	if yaml.Unmarshal(text, &values) != nil {
		return nil
	}
	var images []string
	for _, item := range values.Pack.Content.Images {
		images = append(images, item.Image)
	}
	return images
}

// TagInfo is a tag of a pack.
type TagInfo struct {
	Tag    string        `json:"tag"`
	Group  string        `json:"group,omitempty"`
	Digest digest.Digest `json:"digest"`
	// Parents are the parent tags that stand for it.
	Parents []string `json:"parents,omitempty"`
	// Alias says that it is no version's own tag.
	Alias bool `json:"alias"`
}

// TagList returns a pack's tags: versions first, the newest first, then other names.
func (c *Client) TagList(ctx context.Context, name string) ([]TagInfo, error) {
	details, known, err := c.serverTagDetails(ctx, name)
	if err != nil {
		return nil, err
	}
	if known && len(details) > 0 {
		list := make([]TagInfo, len(details))
		for i, t := range details {
			list[i] = t.TagInfo
		}
		return list, nil
	}
	tags, err := c.tags(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, notFound("there is no pack %s at %s", name, c.server.Host)
	}
	pack.SortTags(tags)
	repo, err := c.repository(ctx, name)
	if err != nil {
		return nil, err
	}
	list, err := each(ctx, tags, func(ctx context.Context, tag string) (TagInfo, error) {
		d, err := repo.Resolve(ctx, tag)
		if errors.Is(err, errdef.ErrNotFound) {
			return TagInfo{}, nil // deleted meanwhile
		}
		return tagInfo(tags, tag, d.Digest), c.explain(err)
	})
	return slices.DeleteFunc(list, func(t TagInfo) bool { return t.Tag == "" }), err
}
