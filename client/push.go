package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"packregistry.dev/pack"
)

// Push says how to push.
type Push struct {
	// Force replaces a version that exists; Message says why.
	Force   bool
	Message string
	// SkipDigestCheck replaces it even if the archive is the same.
	SkipDigestCheck bool
	// DryRun finds out what would be done, and does nothing.
	DryRun bool
	// Progress is called with how many bytes of how many were sent.
	Progress func(sent, total int64)
}

// Pushed is what came of it.
type Pushed struct {
	Name   string        `json:"name"`
	Tag    string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
	// Archive is the digest of the archive, and Size its bytes.
	Archive digest.Digest `json:"archive"`
	Size    int64         `json:"size"`
	// Unchanged says that the version was there already, and Replaced that another was there in its place.
	Unchanged bool `json:"unchanged"`
	Replaced  bool `json:"replaced"`
}

// Push pushes the pack of a directory under the tag of its version.
func (c *Client) Push(ctx context.Context, d *pack.Directory, p Push) (*Pushed, error) {
	archive, layer, err := writeArchive(d)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	repo, err := c.repository(ctx, d.Name)
	if err != nil {
		return nil, err
	}
	manifest, descriptor, err := manifestOf(layer, p.Message)
	if err != nil {
		return nil, err
	}
	result := &Pushed{Name: d.Name, Tag: d.Tag(), Digest: descriptor.Digest, Archive: layer.Digest, Size: layer.Size}
	existing, err := c.version(ctx, repo, result.Tag)
	if err != nil {
		return nil, err
	}
	if existing != nil {
		same := existing.archive == layer.Digest
		if same && (!p.Force || !p.SkipDigestCheck) {
			result.Digest, result.Unchanged = existing.manifest.Digest, true
			return result, nil
		}
		if !p.Force {
			return nil, fmt.Errorf("%s:%s is %s: %w", d.Name, result.Tag, existing.archive, ErrExists)
		}
		result.Replaced = true
	}
	if p.DryRun {
		return result, nil
	}
	if err := c.pushBlob(ctx, repo, configDescriptor, newUpload(strings.NewReader(emptyConfig), configDescriptor, nil)); err != nil {
		return nil, err
	}
	if err := c.pushBlob(ctx, repo, layer, newUpload(archive, layer, p.Progress)); err != nil {
		return nil, err
	}
	if p.Force {
		ctx = context.WithValue(ctx, forceKey{}, true)
	}
	if err := repo.PushReference(ctx, descriptor, bytes.NewReader(manifest), result.Tag); err != nil {
		return nil, c.explainPush(result.Name, result.Tag, err)
	}
	return result, nil
}

func (c *Client) pushBlob(ctx context.Context, repo *remote.Repository, d ocispec.Descriptor, u *upload) error {
	exists, err := repo.Blobs().Exists(ctx, d)
	if err != nil {
		return c.explain(err)
	}
	if exists {
		return nil
	}
	err = errNoChunks
	if content, _, _ := u.Outer(); d.Size > chunkSize {
		err = c.pushChunks(ctx, repo, d, content, u.report)
	}
	if errors.Is(err, errNoChunks) {
		err = repo.Blobs().Push(ctx, d, u)
	}
	if err == nil || ctx.Err() != nil {
		return c.explain(err)
	}
	// The answer may be all that was lost.
	if exists, existsErr := repo.Blobs().Exists(ctx, d); existsErr == nil && exists {
		return nil
	}
	return c.explain(err)
}
