package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"packregistry.dev/pack"
)

// SplitReference splits NAME, NAME:TAG or NAME@DIGEST.
func SplitReference(s string) (name, reference string, err error) {
	name, reference, named := strings.Cut(s, "@")
	if !named {
		name, reference, named = strings.Cut(s, ":")
	}
	if name == "" || named && reference == "" {
		return "", "", fmt.Errorf("%q: name a version as NAME:TAG or NAME@DIGEST", s)
	}
	return name, reference, nil
}

// version is a version that the registry has.
type version struct {
	// tag is empty for what was found by its digest.
	tag      string
	manifest ocispec.Descriptor
	archive  digest.Digest
	layer    ocispec.Descriptor
	// message says why it was replaced.
	message string
}

// find finds a version by tag, parent tag or digest, or the newest where there is none.
func (c *Client) find(ctx context.Context, name, reference string) (*remote.Repository, *version, error) {
	repo, err := c.repository(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	stored := reference
	if reference == "" || pack.IsParentTag(reference) {
		tags, err := c.tags(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		if stored, err = choose(tags, reference); err != nil {
			return nil, nil, err
		}
	}
	if stored != "" {
		v, err := c.version(ctx, repo, stored)
		if err != nil || v != nil {
			return repo, v, err
		}
	}
	return nil, nil, c.missing(ctx, name, reference)
}

// choose picks the newest of the tags that are below a parent tag; with none, of all versions. It is empty where there is
// nothing to choose from.
func choose(tags []string, parent string) (string, error) {
	if parent != "" {
		return pack.Newest(tags, parent), nil
	}
	groups := map[string][]string{}
	for _, tag := range tags {
		if pack.IsVersionTag(tag) {
			groups[pack.Group(tag)] = append(groups[pack.Group(tag)], tag)
		}
	}
	if group, ok := groups[""]; ok {
		return pack.Newest(group, ""), nil
	}
	if len(groups) > 1 {
		return "", fmt.Errorf("the pack has versions of several groups, and none without; name one as NAME:TAG, such as %s", tags[0])
	}
	for _, group := range groups {
		return pack.Newest(group, ""), nil
	}
	return "", nil
}

// errNoPack is of what is no pack, as a repository that others push to may hold.
var errNoPack = errors.New("no pack")

// version looks one up by tag or digest; nil is none.
func (c *Client) version(ctx context.Context, repo *remote.Repository, reference string) (*version, error) {
	descriptor, r, err := repo.FetchReference(ctx, reference)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, c.explain(err)
	}
	defer r.Close()
	if err := checkSize("the manifest of "+reference, descriptor.Size, maxManifest); err != nil {
		return nil, err
	}
	text, err := content.ReadAll(r, descriptor)
	if err != nil {
		return nil, c.explain(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil || len(m.Layers) != 1 {
		return nil, &kindError{errNoPack, fmt.Errorf("%s is not a pack: its manifest has %d layers, not one", reference, len(m.Layers))}
	}
	if err := checkSize("the archive of "+reference, m.Layers[0].Size, pack.MaxSize); err != nil {
		return nil, err
	}
	v := &version{manifest: descriptor, archive: m.Layers[0].Digest, layer: m.Layers[0], message: m.Annotations[annotationMessage]}
	if !strings.Contains(reference, ":") {
		v.tag = reference
	}
	return v, nil
}

// tags returns a pack's own tags: no parent tags, which are computed, and no signatures. A pack that is not there has none.
func (c *Client) tags(ctx context.Context, name string) ([]string, error) {
	repo, err := c.repository(ctx, name)
	if err != nil {
		return nil, err
	}
	var tags []string
	var seen pages
	err = repo.Tags(ctx, "", func(page []string) error {
		if err := seen.add(len(page)); err != nil {
			return err
		}
		for _, tag := range page {
			if pack.IsTag(tag) && !pack.IsParentTag(tag) && !pack.IsSignatureTag(tag) {
				tags = append(tags, tag)
			}
		}
		return nil
	})
	var response *errcode.ErrorResponse
	if errors.Is(err, errdef.ErrNotFound) || errors.As(err, &response) && response.StatusCode == http.StatusNotFound && len(response.Errors) > 0 {
		return nil, nil
	}
	return tags, c.explain(err)
}
