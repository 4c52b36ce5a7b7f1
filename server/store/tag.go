package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// This file is one tag: to find what it names, to set and to remove it. A tag is only ever replaced or removed as it was
// seen, so that nobody takes away what another set meanwhile.

// tagRecord is what a tag's object holds.
type tagRecord struct {
	Digest digest.Digest `json:"digest"`
	// Generation is the generation that the manifest had when it was tagged.
	Generation string    `json:"incarnation"`
	Nonce      string    `json:"nonce"`
	Time       time.Time `json:"time"`
	By         string    `json:"by,omitempty"`
	// Tombstone makes it a tombstone: there is no tag, and the storage cannot delete on a condition.
	Tombstone bool `json:"purged,omitempty"`
	// Touched differs each time that a collector wrote the tag as it was, so that whoever had read it before must read it again.
	Touched string `json:"touched,omitempty"`
}

// names says whether the tag is of that manifest, in that generation of it.
func (t tagRecord) names(m *Manifest) bool {
	return t.Digest == m.Digest && t.Generation == m.header.Generation
}

// parseTag takes a tag's object apart. One that names no digest is damaged: a digest is taken apart without being checked
// from here on.
func parseTag(data []byte) (tagRecord, error) {
	t, err := parseJSON[tagRecord](data)
	if err == nil && !t.Tombstone {
		err = validDigest("digest", t.Digest)
	}
	return t, err
}

// readTag returns a tag's record as it is, a tombstone too.
func (r *Repository) readTag(ctx context.Context, tag string) (tagRecord, driver.Version, error) {
	key := tagKey(r.name, tag)
	data, version, err := r.s.d.Read(ctx, key)
	if err != nil {
		return tagRecord{}, "", notFound(err, "tag", tag)
	}
	t, err := r.s.tags.read(key, version, data, parseTag)
	if err != nil {
		return tagRecord{}, "", fmt.Errorf("tag %s in %s: %w: %w", tag, r.name, ErrDamaged, err)
	}
	return t, version, nil
}

// tag returns a tag's record. That it is there does not say that its manifest is.
func (r *Repository) tag(ctx context.Context, tag string) (tagRecord, driver.Version, error) {
	t, version, err := r.readTag(ctx, tag)
	if err == nil && t.Tombstone {
		err = fmt.Errorf("tag %s: %w", tag, ErrNotFound)
	}
	return t, version, err
}

// manifestReader is Manifest or Head.
type manifestReader func(ctx context.Context, d digest.Digest) (*Manifest, error)

// named returns the manifest that a tag's record names, or ErrNotFound where the tag is dead: then it is dead for ever,
// since no manifest has the same generation again.
func (r *Repository) named(ctx context.Context, tag string, t tagRecord, read manifestReader) (*Manifest, error) {
	m, err := read(ctx, t.Digest)
	if errors.Is(err, ErrNotFound) || err == nil && !t.names(m) {
		return nil, fmt.Errorf("tag %s: its manifest was deleted: %w", tag, ErrNotFound)
	}
	return m, err
}

// Tagged returns the manifest that a tag names.
func (r *Repository) Tagged(ctx context.Context, tag string) (*Manifest, error) {
	m, _, _, err := r.tagged(ctx, tag, r.Manifest)
	return m, err
}

// TaggedHead is Tagged without the content of a manifest that is large.
func (r *Repository) TaggedHead(ctx context.Context, tag string) (*Manifest, error) {
	m, _, _, err := r.tagged(ctx, tag, r.Head)
	return m, err
}

// tagged returns the manifest that a tag names and the tag's record. Where the manifest is gone the tag may name another by
// now: it is dead only where it still has that record.
func (r *Repository) tagged(ctx context.Context, tag string, read manifestReader) (*Manifest, tagRecord, driver.Version, error) {
	t, version, err := r.tag(ctx, tag)
	for try := (attempts{}); err == nil; {
		m, gone := r.named(ctx, tag, t, read)
		if !errors.Is(gone, ErrNotFound) {
			return m, t, version, gone
		}
		seen := t.Nonce
		if t, version, err = r.tag(ctx, tag); err == nil && t.Nonce == seen {
			err = gone
		} else if err == nil {
			err = try.again(ctx, r.s, driver.ErrChanged)
		}
	}
	return nil, tagRecord{}, "", err
}

// Tag makes a tag name a manifest of this repository. Where the tag names another manifest already it is moved if move
// is true, else ErrTagExists is returned. Of several that tag at once one is last. Where the manifest goes meanwhile the
// tag is as it was before, and ErrTryAgain is returned.
func (r *Repository) Tag(ctx context.Context, tag string, d digest.Digest, by string, move bool) error {
	m, err := r.Head(ctx, d)
	if err != nil {
		return err
	}
	var before tagRecord
	var last string // the nonce of what an earlier round wrote
	for try := (attempts{}); ; {
		written, replaced, err := r.setTag(ctx, tag, m, by, move)
		if err != nil {
			return err
		}
		if last == "" || replaced.Nonce != last {
			before = replaced // and not the tag as this call left it in the round before
		}
		last = written.Nonce
		// Now that the tag is there a collector finds it; one that had looked before is overruled here.
		kept, err := r.retainManifest(ctx, d)
		switch {
		case errors.Is(err, ErrNotFound):
			if err := r.takeBack(ctx, tag, written, before); err != nil {
				return err
			}
			return fmt.Errorf("manifest %s was deleted while it was tagged %s: %w", d, tag, ErrTryAgain)
		case err != nil || written.names(kept):
			return err
		}
		m = kept // deleted and pushed again
		if err := try.again(ctx, r.s, driver.ErrChanged); err != nil {
			return err
		}
	}
}

// setTag writes a tag, and returns the record that is there now and the one that it replaced.
func (r *Repository) setTag(ctx context.Context, tag string, m *Manifest, by string, move bool) (written, replaced tagRecord, err error) {
	written = tagRecord{Digest: m.Digest, Generation: m.header.Generation, Nonce: nonce(), Time: r.s.now().UTC(), By: by}
	for try := (attempts{}); ; {
		current, version, err := r.readTag(ctx, tag)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return written, current, err
		}
		if !current.Tombstone && current.names(m) {
			// Who wrote it may not have come to its entry yet, or never will.
			return current, current, ignoreExist(r.s.d.Create(ctx, taggedKey(r.name, m.Digest, tag), nil, driver.Durable))
		}
		if err := r.mayMove(ctx, tag, current, move); err != nil {
			return written, current, err
		}
		// What asks to read a tombstone before it is listed is of no use once the tombstone is replaced, and only then:
		// a deletion that comes meanwhile is not among these.
		var deletions []string
		if current.Tombstone {
			if deletions, err = r.tagDeletions(ctx, tag); err != nil {
				return written, current, err
			}
		}
		switch err := r.writeTag(ctx, tag, written, version); {
		case isLostRace(err):
			if err := try.again(ctx, r.s, err); err != nil {
				return written, current, err
			}
			continue
		case err != nil:
			return written, current, err
		}
		return written, current, r.removeAll(ctx, deletions)
	}
}

// writeTag writes a tag over the version that was seen, with its entry of the reverse index, which is there before it.
func (r *Repository) writeTag(ctx context.Context, tag string, t tagRecord, version driver.Version) error {
	entry := taggedKey(r.name, t.Digest, tag)
	indexed := r.s.d.Create(ctx, entry, nil, driver.Durable)
	if err := ignoreExist(indexed); err != nil {
		return err
	}
	if err := r.s.d.Replace(ctx, tagKey(r.name, tag), mustJSON(t), version); err != nil {
		return err
	}
	if errors.Is(indexed, driver.ErrExist) {
		// Whoever found that entry without its tag may have removed it before the tag was there.
		return ignoreExist(r.s.d.Create(ctx, entry, nil, driver.Durable))
	}
	return nil
}

// mayMove says whether a tag that has that record may be given to another manifest.
func (r *Repository) mayMove(ctx context.Context, tag string, current tagRecord, move bool) error {
	if move || current.Digest == "" {
		return nil
	}
	switch _, err := r.named(ctx, tag, current, r.Head); {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil && !errors.Is(err, ErrDamaged):
		return err
	}
	return fmt.Errorf("tag %s names %s: %w", tag, current.Digest, ErrTagExists)
}

// takeBackTimeout bounds how long it is tried to undo something after the client of the request is gone.
const takeBackTimeout = 30 * time.Second

// takeBack undoes a tag whose manifest was gone when it was looked at: what it replaced is put back, if that is still alive.
// Where another has replaced or removed the tag meanwhile there is nothing to undo.
func (r *Repository) takeBack(ctx context.Context, tag string, written, before tagRecord) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(driver.WithReserve(ctx)), takeBackTimeout)
	defer cancel()
	for try := (attempts{}); ; {
		current, version, err := r.tag(ctx, tag)
		if errors.Is(err, ErrNotFound) || err == nil && current.Nonce != written.Nonce {
			return nil
		}
		if err != nil {
			return err
		}
		restored := before
		restored.Nonce, restored.Touched = nonce(), ""
		if before.Digest == "" || before.Digest == written.Digest {
			err = r.removeTag(ctx, tag, version)
		} else {
			err = r.writeTag(ctx, tag, restored, version)
		}
		switch {
		case isLostRace(err):
			if err := try.again(ctx, r.s, err); err != nil {
				return err
			}
			continue
		case err != nil || before.Digest == "" || before.Digest == written.Digest:
			return err
		}
		// As for every tag: a look at its manifest, after it.
		if m, err := r.retainManifest(ctx, before.Digest); err == nil && restored.names(m) {
			return nil
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		written, before = restored, tagRecord{}
	}
}

// removeTag removes a tag that is still as it was seen. Where the storage cannot delete on a condition a tombstone takes its
// place, and before that there is an object because of which lists read that tag.
func (r *Repository) removeTag(ctx context.Context, tag string, version driver.Version) error {
	key := tagKey(r.name, tag)
	err := r.s.d.DeleteUnchanged(ctx, key, version)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	deletion := tagDeletionKey(r.name, tag, nonce())
	if err := r.s.d.Create(ctx, deletion, nil, driver.Durable); err != nil {
		return err
	}
	err = r.s.d.Replace(ctx, key, mustJSON(tagRecord{Tombstone: true, Nonce: nonce()}), version)
	if isLostRace(err) {
		return errors.Join(err, r.s.d.Delete(ctx, deletion))
	}
	return err
}

// DeleteTag removes a tag; its manifest stays. Where the tag is moved meanwhile it was deleted before that, and stays.
func (r *Repository) DeleteTag(ctx context.Context, tag string) error {
	ctx = driver.WithReserve(ctx)
	_, t, version, err := r.tagged(ctx, tag, r.Head)
	if err != nil && (t.Digest == "" || !errors.Is(err, ErrDamaged)) {
		return err
	}
	seen := t
	for try := (attempts{}); t.Digest == seen.Digest && t.Generation == seen.Generation; {
		err := r.removeTag(ctx, tag, version)
		if err == nil {
			break
		}
		if !isLostRace(err) {
			return err
		}
		if err := try.again(ctx, r.s, err); err != nil {
			return err
		}
		if t, version, err = r.tag(ctx, tag); errors.Is(err, ErrNotFound) {
			break
		} else if err != nil {
			return err
		}
	}
	return r.unindex(ctx, seen.Digest, tag)
}

// unindex takes a tag that names a manifest no more out of the reverse index, and puts it back where the tag names it
// again: whoever set it saw the entry still there.
func (r *Repository) unindex(ctx context.Context, d digest.Digest, tag string) error {
	key := taggedKey(r.name, d, tag)
	if err := r.s.d.Delete(ctx, key); err != nil {
		return err
	}
	switch t, _, err := r.tag(ctx, tag); {
	case errors.Is(err, ErrNotFound) || err == nil && t.Digest != d:
		return nil
	case err != nil && !errors.Is(err, ErrDamaged):
		return err
	}
	return ignoreExist(r.s.d.Create(ctx, key, nil, driver.Durable))
}

// removeIfDead removes a tag whose manifest is gone.
func (r *Repository) removeIfDead(ctx context.Context, tag string) error {
	for try := (attempts{}); ; {
		t, version, err := r.tag(ctx, tag)
		if err == nil {
			_, err = r.named(ctx, tag, t, r.Head)
			if !errors.Is(err, ErrNotFound) {
				return ignoreDamaged(err)
			}
			err = r.removeTag(ctx, tag, version)
		}
		switch {
		case isLostRace(err):
			if err := try.again(ctx, r.s, err); err != nil {
				return err
			}
		case errors.Is(err, ErrNotFound):
			return nil
		default:
			return ignoreDamaged(err)
		}
	}
}

// ignoreDamaged is for what cannot be read and therefore stays.
func ignoreDamaged(err error) error {
	if errors.Is(err, ErrDamaged) {
		return nil
	}
	return err
}

// removeAll deletes objects.
func (r *Repository) removeAll(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if err := r.s.d.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
