package store

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/server/store/driver"
)

// This file is the lists of manifests by their subject.

// listReferrer puts a manifest on the list of its subject, if it has one.
func (r *Repository) listReferrer(ctx context.Context, p PutManifest) error {
	if p.Subject == "" {
		return nil
	}
	key := referrerKey(r.name, p.Subject, p.Digest)
	return ignoreExist(r.s.d.Create(ctx, key, mustJSON(p.Referrer), driver.Durable))
}

// Referrer is what the list of its subject says of a manifest.
func (c *Content) Referrer(mediaType string, d digest.Digest, size int) *ocispec.Descriptor {
	artifactType := c.ArtifactType
	if artifactType == "" && c.Config != nil {
		artifactType = c.Config.MediaType
	}
	return &ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(size), ArtifactType: artifactType, Annotations: c.Annotations}
}

// relistReferrer puts a manifest on the list of its subject from which it is missing.
func (r *Repository) relistReferrer(ctx context.Context, d digest.Digest) error {
	m, err := r.Manifest(ctx, d)
	if errors.Is(err, ErrNotFound) || err == nil && m.header.Subject == "" {
		return nil
	}
	if err != nil {
		return err
	}
	return r.listReferrer(ctx, PutManifest{Digest: d, Subject: digest.Digest(m.header.Subject), Referrer: m.referrer()})
}

// referrer is what the list of its subject says of a stored manifest.
func (m *Manifest) referrer() *ocispec.Descriptor {
	c, err := ParseManifest(m.MediaType, m.Content)
	if err != nil {
		c = &Content{} // of a kind that would not be accepted today
	}
	return c.Referrer(m.MediaType, m.Digest, len(m.Content))
}

// forgetReferrer takes a manifest off its subject's list, and back onto it where it was pushed again at that moment: the
// other pusher saw the entry still there.
func (r *Repository) forgetReferrer(ctx context.Context, subject, d digest.Digest) error {
	if subject == "" {
		return nil
	}
	key := referrerKey(r.name, subject, d)
	entry, _, err := r.s.d.Read(ctx, key)
	if errors.Is(err, driver.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.s.d.Delete(ctx, key); err != nil {
		return err
	}
	m, err := r.Manifest(ctx, d)
	if errors.Is(err, ErrNotFound) || err == nil && m.header.Subject != string(subject) {
		return nil
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	return ignoreExist(r.s.d.Create(ctx, key, entry, driver.Durable))
}

// Referrers returns up to limit descriptors of manifests whose subject is d, after the given one, and the digest to go
// on after (empty at the end).
func (r *Repository) Referrers(ctx context.Context, subject, after digest.Digest, limit int) ([]ocispec.Descriptor, digest.Digest, error) {
	prefix, start := referrerPrefix(r.name, subject), ""
	if after != "" {
		start = digestName(after)
	}
	names, err := r.s.list(ctx, prefix, start, limit)
	if err != nil {
		return nil, "", err
	}
	list := make([]ocispec.Descriptor, 0, len(names))
	var next digest.Digest
	for i, name := range names {
		d, err := parseDigestName(name)
		if err != nil {
			continue // not of this store
		}
		if i == limit-1 {
			next = d
		}
		data, _, err := r.s.d.Read(ctx, prefix+name)
		if errors.Is(err, driver.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		m, err := r.Manifest(ctx, d)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrDamaged):
			continue // its manifest is gone, was never committed, or cannot be had
		case err != nil:
			return nil, "", err
		}
		descriptor := &ocispec.Descriptor{}
		if err := json.Unmarshal(data, descriptor); err != nil || descriptor.Digest != d {
			descriptor = m.referrer() // the entry is damaged
		}
		list = append(list, *descriptor)
	}
	return list, next, nil
}
