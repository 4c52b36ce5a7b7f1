package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// This file is the end of an upload: its data gets a key, and becomes a blob of the repository.

// Commit appends what from yields, checks that the whole has digest d, and makes it a blob of the repository. It is
// durable when Commit returns. Where from breaks off the upload stays as it was, so that the same request can be made
// again; where the digest differs the upload is gone.
func (u *Upload) Commit(ctx context.Context, from io.Reader, d digest.Digest) error {
	w, err := u.open(ctx)
	if errors.Is(err, ErrNotFound) && u.number > 0 {
		return u.adopt(ctx, from, d, err)
	}
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // it only lets others write
	key, err := u.r.s.newData(ctx, d)
	if err != nil {
		return err
	}
	if u.step.Offset == 0 && d.Algorithm() == u.step.Algorithm {
		w.CommitDirectly(key)
	}
	n, err := w.copy(from)
	if err != nil {
		if u.singleRequest {
			err = errors.Join(err, w.Discard(context.WithoutCancel(ctx)))
		}
		return u.outdated(ctx, err)
	}
	found, err := u.digest(ctx, w, d.Algorithm())
	if err != nil {
		return err
	}
	if found != d {
		return errors.Join(fmt.Errorf("said to be %s, is %s: %w", d, found, ErrDigestMismatch), u.Cancel(ctx))
	}
	size := u.step.Offset + n
	switch err := w.Commit(ctx, key); {
	case errors.Is(err, driver.ErrExist):
		err = u.r.s.confirm(ctx, key, content{digest: d, size: size})
		if err != nil {
			return err
		}
	case errors.Is(err, driver.ErrNotExist):
		// The stream went: discarded, or committed by an attempt before this one.
		if err := u.committedBefore(ctx, key, d, size, notFound(err, "upload", u.id)); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if err := u.link(ctx, d, key, size); err != nil {
		return err
	}
	// The blob is there whatever becomes of the upload's remains; purging finds those too.
	return ignoreCanceled(u.forget(context.WithoutCancel(ctx), w.Discard))
}

// adopt finishes a commit whose process died when the data had its key already, and the stream was gone with that: the
// client, which repeats its request, has sent all of them. gone is the answer where that is not what happened.
func (u *Upload) adopt(ctx context.Context, from io.Reader, d digest.Digest, gone error) error {
	if d.Algorithm() != u.step.Algorithm {
		return gone
	}
	h, err := u.restoreHash()
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(h, onlyReader{from}, make([]byte, copyBuffer))
	if err != nil {
		return err
	}
	if digest.NewDigest(d.Algorithm(), h) != d {
		return gone
	}
	key, err := u.r.s.newData(ctx, d)
	if err != nil {
		return err
	}
	size := u.step.Offset + n
	if err := u.committedBefore(ctx, key, d, size, gone); err != nil {
		return err
	}
	if err := u.link(ctx, d, key, size); err != nil {
		return err
	}
	return ignoreCanceled(u.forget(context.WithoutCancel(ctx), func(ctx context.Context) error { return u.r.s.d.Discard(ctx, u.id) }))
}

// committedBefore looks whether the data of an upload whose stream is gone is at key, where an attempt before this one left
// it; gone is the answer where it is not. An error of the storage stays what it is: the client may repeat its request.
func (u *Upload) committedBefore(ctx context.Context, key string, d digest.Digest, size int64, gone error) error {
	err := u.r.s.confirm(ctx, key, content{digest: d, size: size, doubtful: true})
	if errors.Is(err, ErrTryAgain) && (errors.Is(err, ErrDamaged) || errors.Is(err, driver.ErrNotExist)) {
		return gone
	}
	return err
}

// link makes data that is at key a blob of the repository.
func (u *Upload) link(ctx context.Context, d digest.Digest, key string, size int64) error {
	err := u.r.addLink(ctx, d, key, size)
	if errors.Is(err, errTombstoned) {
		return fmt.Errorf("blob %s was collected in this very moment: %w", d, ErrTryAgain)
	}
	return err
}

// forget removes what an upload left, once it is over. That it is over is noted first, where there was anything to note
// it of: what a crash leaves is never an upload that stands earlier.
func (u *Upload) forget(ctx context.Context, discard func(context.Context) error) error {
	if u.number > 0 {
		if err := u.r.s.endUpload(ctx, u.id); err != nil {
			return err
		}
	}
	if err := discard(ctx); err != nil {
		return err
	}
	return u.removeSteps(ctx)
}

// endUpload notes that an upload is over. The note goes when uploads of its age are purged.
func (s *Store) endUpload(ctx context.Context, id string) error {
	return ignoreExist(s.d.Create(ctx, uploadPrefix(id)+uploadOver, nil, driver.Relaxed))
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// digest returns the digest of what was written. Content announced as one algorithm and committed as another is read
// once more.
func (u *Upload) digest(ctx context.Context, w *writer, a digest.Algorithm) (digest.Digest, error) {
	if a == u.step.Algorithm {
		return digest.NewDigest(a, w.hash), nil
	}
	h, err := newHash(a)
	if err != nil {
		return "", err
	}
	content, err := w.Reader(ctx)
	if err != nil {
		return "", err
	}
	defer content.Close()
	if _, err := io.CopyBuffer(h, onlyReader{content}, make([]byte, copyBuffer)); err != nil {
		return "", err
	}
	return digest.NewDigest(a, h), nil
}
