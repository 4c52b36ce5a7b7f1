package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// tagRecord is what a tag's object holds.
type tagRecord struct {
	Digest digest.Digest `json:"digest"`
	// Incarnation is that of the manifest when it was tagged.
	Incarnation string    `json:"incarnation"`
	Nonce       string    `json:"nonce"`
	Time        time.Time `json:"time"`
	By          string    `json:"by,omitempty"`
}

func (r *Repository) tag(ctx context.Context, tag string) (tagRecord, driver.Version, error) {
	key := tagKey(r.name, tag)
	data, version, err := r.s.d.Read(ctx, key)
	if err != nil {
		return tagRecord{}, "", notFound(err, "tag", tag)
	}
	t, err := r.s.tags.read(key, version, data, parseJSON[tagRecord])
	if err != nil {
		return tagRecord{}, "", fmt.Errorf("tag %s in %s: %w: %w", tag, r.name, ErrDamaged, err)
	}
	return t, version, nil
}

// Tagged returns the manifest that a tag names.
func (r *Repository) Tagged(ctx context.Context, tag string) (*Manifest, error) {
	t, _, err := r.tag(ctx, tag)
	if err != nil {
		return nil, err
	}
	m, err := r.Manifest(ctx, t.Digest)
	if errors.Is(err, ErrNotFound) || err == nil && m.header.Incarnation != t.Incarnation {
		return nil, fmt.Errorf("tag %s: its manifest was deleted: %w", tag, ErrNotFound)
	}
	return m, err
}

// Tag makes a tag name a manifest of this repository. Where the tag names another manifest already it is moved if move
// is true, else ErrTagExists is returned. Of several that tag at once one is last.
func (r *Repository) Tag(ctx context.Context, tag string, d digest.Digest, by string, move bool) error {
	for {
		m, err := r.Manifest(ctx, d)
		if err != nil {
			return err
		}
		if err := r.tagManifest(ctx, tag, m, by, move); err != nil {
			return err
		}
		// Now that the tag is there a collector finds it; one that had looked before is overruled here.
		kept, err := r.promiseManifest(ctx, d)
		if err != nil || kept.header.Incarnation == m.header.Incarnation {
			return err
		}
	}
}

func (r *Repository) tagManifest(ctx context.Context, tag string, m *Manifest, by string, move bool) error {
	d := m.Digest
	if err := ignoreExist(r.s.d.Create(ctx, taggedKey(r.name, d, tag), nil, driver.Durable)); err != nil {
		return err
	}
	record := mustJSON(tagRecord{Digest: d, Incarnation: m.header.Incarnation, Nonce: nonce(), Time: r.s.now().UTC(), By: by})
	for {
		current, version, err := r.tag(ctx, tag)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil && current.Digest == d && current.Incarnation == m.header.Incarnation {
			return nil
		}
		if err == nil && !move {
			if _, alive := r.Tagged(ctx, tag); alive == nil {
				return fmt.Errorf("tag %s names %s: %w", tag, current.Digest, ErrTagExists)
			}
		}
		err = r.s.d.Replace(ctx, tagKey(r.name, tag), record, version)
		if errors.Is(err, driver.ErrChanged) || errors.Is(err, driver.ErrNotExist) {
			if err := ctx.Err(); err != nil {
				return err
			}
			continue
		}
		if err == nil && current.Digest != "" && current.Digest != d {
			err = r.s.d.Delete(ctx, taggedKey(r.name, current.Digest, tag))
		}
		return err
	}
}

// DeleteTag removes a tag; its manifest stays.
func (r *Repository) DeleteTag(ctx context.Context, tag string) error {
	t, _, err := r.tag(ctx, tag)
	if err != nil {
		return err
	}
	if err := r.s.d.Delete(ctx, tagKey(r.name, tag)); err != nil {
		return err
	}
	return r.s.d.Delete(ctx, taggedKey(r.name, t.Digest, tag))
}

// Tags returns up to limit tags that come after the given one, in byte order. A repository without a manifest is
// ErrNotFound.
func (r *Repository) Tags(ctx context.Context, after string, limit int) ([]string, error) {
	tags, err := r.s.d.List(ctx, tagPrefix(r.name), after, limit)
	if err != nil || len(tags) > 0 {
		return tags, err
	}
	exists, err := r.Exists(ctx)
	if err == nil && !exists {
		err = fmt.Errorf("repository %s: %w", r.name, ErrNotFound)
	}
	return tags, err
}
