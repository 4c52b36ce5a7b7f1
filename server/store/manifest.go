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
	// Pack is the tag that the pack.json in the manifest's archive makes, where that archive was validated.
	Pack string `json:"pack,omitempty"`
	// Condemned is when a collector found that nothing refers to the manifest; see collect.go.
	Condemned *time.Time `json:"condemned,omitempty"`
	// Nonce differs with every change, so that no two states of the object look the same to whoever compares them.
	Nonce string `json:"nonce,omitempty"`
	// Purged stands for no manifest at all, where the storage cannot delete on a condition.
	Purged bool `json:"purged,omitempty"`
}

// File is a file of a pack that is a blob of its own too.
type File struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// Manifest is a manifest with what the store knows of it. It is shared with others who read it: nobody changes it.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	Content   []byte
	// Pushed and By say when it came, and from whom.
	Pushed time.Time
	By     string
	Files  []File
	// Pack is the version, as a tag, that the manifest was validated as; empty where it was not.
	Pack string

	header  header
	version driver.Version
}

// PutManifest says what is pushed.
type PutManifest struct {
	Digest    digest.Digest
	MediaType string
	Content   []byte
	// By is the user who pushes.
	By    string
	Files []File
	// Pack is the version that the manifest was validated as, if it was.
	Pack string
	// Blobs and Manifests of this repository are what it refers to. They must be there, unless AcceptMissing is set.
	Blobs, Manifests []digest.Digest
	AcceptMissing    bool
	// Subject is what the manifest refers to, and Referrer the descriptor to list for it there.
	Subject  digest.Digest
	Referrer *ocispec.Descriptor
}

// Manifest returns a manifest of this repository.
func (r *Repository) Manifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	m, err := r.readManifest(ctx, d)
	if err == nil && m.header.Purged {
		return nil, fmt.Errorf("manifest %s: %w", d, ErrNotFound)
	}
	return m, err
}

func (r *Repository) readManifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	key := manifestKey(r.name, d)
	data, version, err := r.s.d.Read(ctx, key)
	if err != nil {
		return nil, notFound(err, "manifest", d)
	}
	m, err := r.s.manifests.read(key, version, data, func(data []byte) (*Manifest, error) { return parseManifest(d, version, data) })
	if err != nil {
		return nil, fmt.Errorf("manifest %s in %s: %w: %w", d, r.name, ErrDamaged, err)
	}
	return m, nil
}

// parseManifest takes a manifest's object apart.
func parseManifest(d digest.Digest, version driver.Version, data []byte) (*Manifest, error) {
	line, content, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return nil, errors.New("no header")
	}
	m := &Manifest{Digest: d, Content: content, version: version}
	if err := json.Unmarshal(line, &m.header); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	m.MediaType, m.Pushed, m.By, m.Files, m.Pack = m.header.MediaType, m.header.Time, m.header.By, m.header.Files, m.header.Pack
	return m, nil
}

// record is a manifest's object.
func (h header) record(content []byte) []byte { return append(append(mustJSON(h), '\n'), content...) }

// replaceHeader writes a header over the one that was seen.
func (r *Repository) replaceHeader(ctx context.Context, m *Manifest, h header) error {
	return r.s.d.Replace(ctx, manifestKey(r.name, m.Digest), h.record(m.Content), m.version)
}

// promiseManifest finds a manifest that somebody will rely on: where a collector is about to remove it, it is kept.
func (r *Repository) promiseManifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	for {
		m, err := r.Manifest(ctx, d)
		if err != nil || m.header.Condemned == nil {
			return m, err
		}
		kept := m.header
		kept.Condemned, kept.Nonce = nil, nonce()
		if err := r.replaceHeader(ctx, m, kept); err != nil && !isLostRace(err) {
			return nil, err
		}
	}
}

// PutManifest stores a manifest; the caller has checked what it refers to, and here that is made to stay. One that is
// there already stays as it is. It returns ErrNotFound where something that it refers to went meanwhile.
func (r *Repository) PutManifest(ctx context.Context, p PutManifest) error {
	if err := r.listReferrer(ctx, p); err != nil {
		return err
	}
	h := header{Incarnation: nonce(), MediaType: p.MediaType, Time: r.s.now().UTC(), By: p.By, Subject: string(p.Subject), Files: p.Files, Pack: p.Pack}
	if err := r.createManifest(ctx, p.Digest, h, p.Content); err != nil {
		return err
	}
	if err := r.keepReferences(ctx, p); err != nil {
		return err
	}
	// Once more, now that the manifest is there: the deletion of an earlier one may have taken the entry along.
	if err := r.listReferrer(ctx, p); err != nil {
		return err
	}
	return ignoreExist(r.s.d.Create(ctx, catalogKey(r.name), nil, driver.Durable))
}

// listReferrer puts a manifest on the list of its subject, if it has one.
func (r *Repository) listReferrer(ctx context.Context, p PutManifest) error {
	if p.Subject == "" {
		return nil
	}
	key := referrerKey(r.name, p.Subject, p.Digest)
	return ignoreExist(r.s.d.Create(ctx, key, mustJSON(p.Referrer), driver.Durable))
}

func (r *Repository) createManifest(ctx context.Context, d digest.Digest, h header, content []byte) error {
	for {
		err := r.s.d.Create(ctx, manifestKey(r.name, d), h.record(content), driver.Durable)
		if !errors.Is(err, driver.ErrExist) {
			return err
		}
		m, err := r.readManifest(ctx, d)
		if err == nil && m.header.Purged {
			err = r.s.d.Replace(ctx, manifestKey(r.name, d), h.record(content), m.version)
			if err == nil {
				return nil
			}
		} else if err == nil {
			_, err = r.promiseManifest(ctx, d)
			if err == nil {
				return nil
			}
		}
		if !isLostRace(err) && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
}

// keepReferences makes what a manifest refers to stay, now that the manifest is there: a collector that had condemned
// some of it before it read the repository's manifests is overruled here, and one that looks later finds the manifest.
func (r *Repository) keepReferences(ctx context.Context, p PutManifest) error {
	missing := func(err error) error {
		if p.AcceptMissing && errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	for _, d := range p.Blobs {
		if _, err := r.promise(ctx, d); missing(err) != nil {
			return err
		}
	}
	for _, file := range p.Files {
		if _, err := r.promise(ctx, file.Digest); err != nil {
			return err
		}
	}
	for _, d := range p.Manifests {
		if _, err := r.promiseManifest(ctx, d); missing(err) != nil {
			return err
		}
	}
	return nil
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
	return r.forgetManifest(ctx, m)
}

// forgetManifest removes what was written about a manifest that is gone.
func (r *Repository) forgetManifest(ctx context.Context, m *Manifest) error {
	if err := r.sweepTags(ctx, m); err != nil {
		return err
	}
	if err := r.forgetReferrer(ctx, m); err != nil {
		return err
	}
	return r.leaveCatalog(ctx)
}

// forgetReferrer takes a manifest off its subject's list, and back onto it where it was pushed again at that moment: the
// other pusher saw the entry still there.
func (r *Repository) forgetReferrer(ctx context.Context, m *Manifest) error {
	if m.header.Subject == "" {
		return nil
	}
	key := referrerKey(r.name, digest.Digest(m.header.Subject), m.Digest)
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
	if _, err := r.Manifest(ctx, m.Digest); errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return ignoreExist(r.s.d.Create(ctx, key, entry, driver.Durable))
}

// sweepTags removes the tags of a manifest that was deleted. One that is moved meanwhile stays.
func (r *Repository) sweepTags(ctx context.Context, m *Manifest) error {
	prefix := taggedPrefix(r.name, m.Digest)
	return r.s.each(ctx, prefix, func(tag string) error {
		t, version, err := r.tag(ctx, tag)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil && t.Digest == m.Digest && t.Incarnation != m.header.Incarnation {
			return nil // the same manifest was pushed and tagged again
		}
		if err == nil && t.Digest == m.Digest {
			err := r.s.d.DeleteUnchanged(ctx, tagKey(r.name, tag), version)
			if errors.Is(err, errors.ErrUnsupported) {
				// A tag is listed by its name alone, so it must go. Whoever moves it in this very moment can lose it.
				err = r.s.d.Delete(ctx, tagKey(r.name, tag))
			}
			if err != nil && !errors.Is(err, driver.ErrChanged) {
				return err
			}
		}
		return r.s.d.Delete(ctx, prefix+tag)
	})
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

// empty says whether the repository holds no manifest. What stands for a deleted one counts for none.
func (r *Repository) empty(ctx context.Context) (bool, error) {
	const few = 10
	after := ""
	for {
		names, err := r.s.d.List(ctx, manifestPrefix(r.name), after, few)
		if err != nil || len(names) == 0 {
			return err == nil, err
		}
		for _, name := range names {
			after = name
			d, err := parseDigestName(name)
			if err != nil {
				continue // not of this store
			}
			if _, err := r.Manifest(ctx, d); err == nil {
				return false, nil
			} else if !errors.Is(err, ErrNotFound) {
				return false, err
			}
		}
	}
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
		if _, err := r.Manifest(ctx, d); errors.Is(err, ErrNotFound) {
			continue // its manifest is gone, or was never committed
		} else if err != nil {
			return nil, "", err
		}
		var descriptor ocispec.Descriptor
		if err := json.Unmarshal(data, &descriptor); err != nil {
			return nil, "", fmt.Errorf("referrer %s: damaged: %w", d, err)
		}
		list = append(list, descriptor)
	}
	return list, next, nil
}
