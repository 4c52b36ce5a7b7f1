package store

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/server/store/driver"
)

// This file is how a manifest comes into a repository.

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

// PutManifest stores a manifest; the caller has checked what it refers to, and here that is made to stay. One that is
// there already stays as it is. It returns ErrNotFound where something that it refers to went meanwhile; then a manifest
// that was not there before is not there after.
func (r *Repository) PutManifest(ctx context.Context, p PutManifest) error {
	if err := r.listReferrer(ctx, p); err != nil {
		return err
	}
	h := header{Generation: nonce(), MediaType: p.MediaType, Time: r.s.now().UTC(), By: p.By, Subject: string(p.Subject), Files: p.Files, Pack: p.Pack}
	own := "" // the generation that is ours to take back
	for try := (attempts{}); ; {
		created, err := r.createManifest(ctx, p.Digest, h, p.Content)
		if err != nil {
			return err
		}
		if created {
			own = h.Generation
		}
		missing := r.keepReferences(ctx, p)
		if missing == nil {
			break
		}
		if own == "" || !errors.Is(missing, ErrNotFound) {
			return missing
		}
		if withdrawn, err := r.withdraw(ctx, p, own); err != nil {
			return err
		} else if withdrawn {
			return missing
		}
		h.Generation = nonce() // if it must be created once more
		if err := try.again(ctx, r.s, missing); err != nil {
			return err
		}
	}
	// Once more, now that the manifest is there: the deletion of an earlier one may have taken the entry along.
	if err := r.listReferrer(ctx, p); err != nil {
		return err
	}
	return r.enterCatalog(ctx, p.Digest)
}

// createManifest writes a manifest where there is none, and says whether it did.
func (r *Repository) createManifest(ctx context.Context, d digest.Digest, h header, content []byte) (created bool, err error) {
	for try := (attempts{}); ; {
		err := r.s.d.Create(ctx, manifestKey(r.name, d), h.record(content), driver.Durable)
		if !errors.Is(err, driver.ErrExist) {
			return err == nil, err
		}
		m, err := r.readManifest(ctx, d)
		if err == nil && m.header.Tombstone {
			err = r.s.d.Replace(ctx, manifestKey(r.name, d), h.record(content), m.version)
			if err == nil {
				return true, nil
			}
		} else if err == nil {
			_, err = r.retainManifest(ctx, d)
			if err == nil {
				return false, nil
			}
		}
		if !isLostRace(err) && !errors.Is(err, ErrNotFound) {
			return false, err
		}
		if err := try.again(ctx, r.s, err); err != nil {
			return false, err
		}
	}
}

// withdraw removes a manifest that was just created and that lacks something it refers to. Others may rely on it by now, who
// saw what it refers to come back. So it is done as a collector does it: the manifest is marked; what it refers to is
// looked for once more, and where it is there the manifest stays; it is removed only as it was marked, since whoever begins
// to rely on it takes the mark away.
func (r *Repository) withdraw(ctx context.Context, p PutManifest, generation string) (withdrawn bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(driver.WithReserve(ctx)), takeBackTimeout)
	defer cancel()
	for try := (attempts{}); ; {
		m, err := r.Manifest(ctx, p.Digest)
		if errors.Is(err, ErrNotFound) || err == nil && m.header.Generation != generation {
			return true, nil // somebody else removed it
		}
		if err != nil {
			return false, err
		}
		if err = r.withdrawOnce(ctx, p, m); err == nil {
			return true, errors.Join(r.forgetManifest(ctx, m), r.leaveCatalog(ctx, p.Digest))
		}
		switch {
		case errors.Is(err, errReferencesThere):
			return false, nil
		case !isLostRace(err):
			return false, err
		}
		if err := try.again(ctx, r.s, err); err != nil {
			return false, err
		}
	}
}

var errReferencesThere = errors.New("what the manifest refers to is there")

func (r *Repository) withdrawOnce(ctx context.Context, p PutManifest, m *Manifest) error {
	now, marked := r.s.now().UTC(), m.header
	marked.Marked, marked.Nonce = &now, nonce()
	if err := r.replaceHeader(ctx, m, marked); err != nil {
		return err
	}
	if err := r.keepReferences(ctx, p); err == nil {
		return errReferencesThere
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	seen, err := r.readManifest(ctx, p.Digest)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && seen.header.Nonce != marked.Nonce:
		return driver.ErrChanged
	case err != nil:
		return err
	}
	return r.removeManifest(ctx, seen)
}

// keepReferences makes what a manifest refers to stay, now that the manifest is there: a collector that had marked
// some of it before it read the repository's manifests is overruled here, and one that looks later finds the manifest.
func (r *Repository) keepReferences(ctx context.Context, p PutManifest) error {
	missing := func(err error) error {
		if p.AcceptMissing && errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	for _, d := range p.Blobs {
		if err := ctx.Err(); err != nil { // not every storage looks
			return err
		}
		if _, err := r.retain(ctx, d); missing(err) != nil {
			return err
		}
	}
	for _, file := range p.Files {
		if _, err := r.retain(ctx, file.Digest); err != nil {
			return err
		}
	}
	for _, d := range p.Manifests {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.keepManifest(ctx, d); missing(err) != nil {
			return err
		}
	}
	return nil
}
