package store

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// This file is how a manifest goes, and what was written about it.

// removeManifest removes a manifest that is still as it was seen.
func (r *Repository) removeManifest(ctx context.Context, m *Manifest) error {
	tombstone := header{Tombstone: true, Generation: nonce()}.record(nil)
	return r.s.removeUnchanged(ctx, manifestKey(r.name, m.Digest), tombstone, m.version)
}

// DeleteManifest removes a manifest and every tag of it. Where only its tags are left, since a deletion was interrupted,
// those are removed.
func (r *Repository) DeleteManifest(ctx context.Context, d digest.Digest) error {
	ctx = driver.WithReserve(ctx)
	m, err := r.Manifest(ctx, d)
	if errors.Is(err, ErrNotFound) {
		if failed := r.sweepTags(ctx, d); failed != nil {
			return failed // and not "not found", which would hide it
		}
		return err
	}
	if err != nil {
		return err
	}
	// From here on lists read its tags before they show them, whatever becomes of this process.
	deletion := manifestDeletionKey(r.name, d, nonce())
	if err := r.s.d.Create(ctx, deletion, nil, driver.Durable); err != nil {
		return err
	}
	if err := r.deleteGeneration(ctx, m); err != nil {
		return err
	}
	if err := r.forgetManifest(ctx, m); err != nil {
		return err
	}
	if err := r.leaveCatalog(ctx, d); err != nil {
		return err
	}
	return r.s.d.Delete(ctx, deletion)
}

// deleteGeneration removes a manifest, however its header changes meanwhile, but not one that was pushed again.
func (r *Repository) deleteGeneration(ctx context.Context, m *Manifest) error {
	d, generation := m.Digest, m.header.Generation
	for try := (attempts{}); ; {
		// Never without the condition: such a request can reach the storage late, when the manifest was pushed again.
		err := r.removeManifest(ctx, m)
		if !isLostRace(err) {
			return err
		}
		if err := try.again(ctx, r.s, err); err != nil {
			return err
		}
		switch m, err = r.Manifest(ctx, d); {
		case errors.Is(err, ErrNotFound) || err == nil && m.header.Generation != generation:
			return nil
		case err != nil:
			return err
		}
	}
}

// forgetManifest removes what was written about a manifest that is gone, but for the catalog.
func (r *Repository) forgetManifest(ctx context.Context, m *Manifest) error {
	if err := r.sweepTags(ctx, m.Digest); err != nil {
		return err
	}
	return r.forgetReferrer(ctx, digest.Digest(m.header.Subject), m.Digest)
}

// sweepTags removes the tags of a manifest that was deleted, as the reverse index has them. One that is moved meanwhile stays.
func (r *Repository) sweepTags(ctx context.Context, d digest.Digest) error {
	return r.s.each(ctx, taggedPrefix(r.name, d), func(tag string) error {
		if err := r.removeIfDead(ctx, tag); err != nil {
			return err
		}
		return r.unindex(ctx, d, tag)
	})
}
