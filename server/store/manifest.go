package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/server/store/driver"
)

// header is the line that stands before a manifest's bytes.
type header struct {
	// Incarnation tells this manifest from one of the same bytes that was deleted before: tags of that one stay dead.
	Incarnation string    `json:"incarnation"`
	MediaType   string    `json:"mediaType"`
	Time        time.Time `json:"time"`
	By          string    `json:"by,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	// Files are blobs of the repository that belong to the manifest without being named in it.
	Files []File `json:"files,omitempty"`
}

// File is a file of a pack that is a blob of its own too.
type File struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// Manifest is a manifest with what the store knows of it.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	Content   []byte
	// Pushed and By say when it came, and from whom.
	Pushed time.Time
	By     string
	Files  []File

	header header
}

// PutManifest says what is pushed.
type PutManifest struct {
	Digest    digest.Digest
	MediaType string
	Content   []byte
	// By is the user who pushes.
	By    string
	Files []File
	// Subject is what the manifest refers to, and Referrer the descriptor to list for it there.
	Subject  digest.Digest
	Referrer *ocispec.Descriptor
}

// Manifest returns a manifest of this repository.
func (r *Repository) Manifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	data, _, err := r.s.d.Read(ctx, manifestKey(r.name, d))
	if err != nil {
		return nil, notFound(err, "manifest", d)
	}
	line, content, ok := bytes.Cut(data, []byte("\n"))
	m := &Manifest{Digest: d, Content: content}
	if !ok {
		return nil, fmt.Errorf("manifest %s: damaged: no header", d)
	}
	if err := json.Unmarshal(line, &m.header); err != nil {
		return nil, fmt.Errorf("manifest %s: damaged header: %w", d, err)
	}
	m.MediaType, m.Pushed, m.By, m.Files = m.header.MediaType, m.header.Time, m.header.By, m.header.Files
	return m, nil
}

// PutManifest stores a manifest; the caller has checked what it refers to. One that is there already stays as it is.
func (r *Repository) PutManifest(ctx context.Context, p PutManifest) error {
	if p.Subject != "" {
		key := referrerKey(r.name, p.Subject, p.Digest)
		if err := ignoreExist(r.s.d.Create(ctx, key, mustJSON(p.Referrer), driver.Durable)); err != nil {
			return err
		}
	}
	h := header{Incarnation: nonce(), MediaType: p.MediaType, Time: r.s.now().UTC(), By: p.By, Subject: string(p.Subject), Files: p.Files}
	data := append(append(mustJSON(h), '\n'), p.Content...)
	if err := ignoreExist(r.s.d.Create(ctx, manifestKey(r.name, p.Digest), data, driver.Durable)); err != nil {
		return err
	}
	return ignoreExist(r.s.d.Create(ctx, catalogKey(r.name), nil, driver.Durable))
}

// DeleteManifest removes a manifest and every tag of it.
func (r *Repository) DeleteManifest(ctx context.Context, d digest.Digest) error {
	m, err := r.Manifest(ctx, d)
	if err != nil {
		return err
	}
	if err := r.s.d.Delete(ctx, manifestKey(r.name, d)); err != nil {
		return err
	}
	if err := r.sweepTags(ctx, m); err != nil {
		return err
	}
	if m.header.Subject != "" {
		if err := r.s.d.Delete(ctx, referrerKey(r.name, digest.Digest(m.header.Subject), d)); err != nil {
			return err
		}
	}
	return r.leaveCatalog(ctx)
}

// sweepTags removes the tags of a manifest that was deleted.
func (r *Repository) sweepTags(ctx context.Context, m *Manifest) error {
	prefix := taggedPrefix(r.name, m.Digest)
	for {
		tags, err := r.s.d.List(ctx, prefix, "", 1000)
		if err != nil || len(tags) == 0 {
			return err
		}
		for _, tag := range tags {
			t, _, err := r.tag(ctx, tag)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if err == nil && t.Digest == m.Digest && t.Incarnation == m.header.Incarnation {
				if err := r.s.d.Delete(ctx, tagKey(r.name, tag)); err != nil {
					return err
				}
			}
			if err := r.s.d.Delete(ctx, prefix+tag); err != nil {
				return err
			}
		}
	}
}

// leaveCatalog takes the repository out of the catalog when its last manifest is gone, and back in when one came at
// that moment: the other pusher saw the entry still there.
func (r *Repository) leaveCatalog(ctx context.Context) error {
	empty, err := r.empty(ctx)
	if err != nil || !empty {
		return err
	}
	if err := r.s.d.Delete(ctx, catalogKey(r.name)); err != nil {
		return err
	}
	if empty, err = r.empty(ctx); err != nil || empty {
		return err
	}
	return ignoreExist(r.s.d.Create(ctx, catalogKey(r.name), nil, driver.Durable))
}

func (r *Repository) empty(ctx context.Context) (bool, error) {
	names, err := r.s.d.List(ctx, manifestPrefix(r.name), "", 1)
	return len(names) == 0, err
}

// Exists says whether the repository holds a manifest.
func (r *Repository) Exists(ctx context.Context) (bool, error) {
	empty, err := r.empty(ctx)
	return !empty, err
}

// Referrers returns up to limit descriptors of manifests whose subject is d, after the given one, and the digest to go
// on after (empty at the end).
func (r *Repository) Referrers(ctx context.Context, subject, after digest.Digest, limit int) ([]ocispec.Descriptor, digest.Digest, error) {
	prefix, start := referrerPrefix(r.name, subject), ""
	if after != "" {
		start = digestName(after)
	}
	names, err := r.s.d.List(ctx, prefix, start, limit)
	if err != nil {
		return nil, "", err
	}
	list := make([]ocispec.Descriptor, 0, len(names))
	var next digest.Digest
	for i, name := range names {
		d, err := parseDigestName(name)
		if err != nil {
			return nil, "", err
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
		if _, err := r.s.d.Stat(ctx, manifestKey(r.name, d)); err != nil {
			continue // its manifest is gone, or was never committed
		}
		var descriptor ocispec.Descriptor
		if err := json.Unmarshal(data, &descriptor); err != nil {
			return nil, "", fmt.Errorf("referrer %s: damaged: %w", d, err)
		}
		list = append(list, descriptor)
	}
	return list, next, nil
}
