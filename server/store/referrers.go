package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

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

// Bounds of lists of referrers. What an entry says was written by whoever pushed the manifest, and is read by everybody.
const (
	// MaxReferrer is how many bytes the entry of one manifest takes, as JSON.
	MaxReferrer = 64 << 10
	// maxReferrerPage is how many bytes the entries of a page take.
	maxReferrerPage = 1 << 20
)

// ErrLongReferrer says that the list of its subject has no room for what a manifest says of itself.
var ErrLongReferrer = fmt.Errorf("its annotations and artifact type, which the list of referrers repeats, take more than %d bytes", MaxReferrer)

// Referrer is what the list of its subject says of a manifest. Where that is too long ErrLongReferrer is returned with what
// remains without annotations.
func (c *Content) Referrer(mediaType string, d digest.Digest, size int) (*ocispec.Descriptor, error) {
	full := c.referrer(mediaType, d, size)
	if len(mustJSON(full)) <= MaxReferrer {
		return full, nil
	}
	return shortReferrer(mediaType, d, int64(size)), ErrLongReferrer
}

func shortReferrer(mediaType string, d digest.Digest, size int64) *ocispec.Descriptor {
	return &ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: size}
}

func (c *Content) referrer(mediaType string, d digest.Digest, size int) *ocispec.Descriptor {
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
	entry, _ := c.Referrer(m.MediaType, m.Digest, len(m.Content)) //nolint:errcheck // one that is too long was accepted before there was a bound
	return entry
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

// Referrer is an entry of a list of referrers.
type Referrer struct {
	MediaType    string        `json:"mediaType"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"`
	ArtifactType string        `json:"artifactType"`
	// Entry is the descriptor as it was written, as JSON.
	Entry json.RawMessage `json:"-"`
}

// Referrers returns up to limit manifests whose subject is d, after the given one, and the digest to go on after (empty at the
// end). The entries of a page are bounded together; there is at least one, if any is left.
func (r *Repository) Referrers(ctx context.Context, subject, after digest.Digest, limit int) ([]Referrer, digest.Digest, error) {
	prefix, start := referrerPrefix(r.name, subject), ""
	if after != "" {
		start = digestName(after)
	}
	names, err := r.s.list(ctx, prefix, start, limit)
	if err != nil {
		return nil, "", err
	}
	list, size := make([]Referrer, 0, len(names)), 0
	var next, last digest.Digest
	for i, name := range names {
		d, err := parseDigestName(name)
		if err != nil {
			continue // not of this store
		}
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		entry, err := r.referrerEntry(ctx, prefix+name, d)
		if err != nil {
			return nil, "", err
		}
		if entry != nil {
			if size += len(entry.Entry); size > maxReferrerPage {
				return list, last, nil
			}
			list = append(list, *entry)
		}
		if last = d; i == limit-1 {
			next = d
		}
	}
	return list, next, nil
}

// referrerEntry reads an entry whose manifest is there, or returns nil.
func (r *Repository) referrerEntry(ctx context.Context, key string, d digest.Digest) (*Referrer, error) {
	text, err := r.readSmall(ctx, key, MaxReferrer)
	if errors.Is(err, driver.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h, size, err := r.readHeader(ctx, d)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrDamaged):
		return nil, nil // its manifest is gone, was never committed, or cannot be had
	case err != nil:
		return nil, err
	case text == nil: // as they were written before there was a bound
		text = mustJSON(shortReferrer(h.MediaType, d, size))
	}
	entry := &Referrer{}
	if err := json.Unmarshal(text, entry); err != nil || entry.Digest != d { // the entry is damaged
		m, err := r.Manifest(ctx, d)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		own := m.referrer()
		text = mustJSON(own)
		entry = &Referrer{MediaType: own.MediaType, Digest: d, Size: own.Size, ArtifactType: own.ArtifactType}
	}
	entry.Entry = text
	return entry, nil
}

// readSmall reads an object, or returns nil where it is longer than limit bytes.
func (r *Repository) readSmall(ctx context.Context, key string, limit int64) ([]byte, error) {
	o, err := r.s.d.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer o.Close() //nolint:errcheck // it was only read
	size := o.Info().Size
	if size > limit {
		return nil, nil
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(o, text); err != nil {
		return nil, err
	}
	return text, nil
}
