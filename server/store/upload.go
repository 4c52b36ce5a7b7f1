package store

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// Upload is a blob in the making. Its state lives in the store, so that any process can go on with it: each finished
// step is an object of its own, created only where there is none, and so of two that write at once one wins.
type Upload struct {
	r    *Repository
	id   string
	step step
}

// step is what it takes to go on from an offset.
type step struct {
	Repository string           `json:"repository"`
	Started    time.Time        `json:"started"`
	Algorithm  digest.Algorithm `json:"algorithm"`
	Offset     int64            `json:"offset"`
	// Hash is the state of the digest over everything up to Offset.
	Hash []byte `json:"hash"`
	// Stream is the driver's state.
	Stream []byte `json:"stream,omitempty"`
}

// copyBuffer is how much is read from a client at once: large enough to hash and write at full speed.
const copyBuffer = 1 << 20

func newHash(a digest.Algorithm) (hash.Hash, error) {
	switch a {
	case digest.SHA256:
		return sha256.New(), nil
	case digest.SHA512:
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("digest algorithm %q is not supported", a)
}

// NewUpload begins an upload. Content is hashed with the algorithm as it comes in.
func (r *Repository) NewUpload(ctx context.Context, a digest.Algorithm) (*Upload, error) {
	h, err := newHash(a)
	if err != nil {
		return nil, err
	}
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, err
	}
	u := &Upload{r: r, id: nonce(), step: step{Repository: r.name, Started: r.s.now().UTC(), Algorithm: a, Hash: state}}
	return u, r.s.d.Create(ctx, uploadKey(u.id, 0), mustJSON(u.step), driver.Relaxed)
}

// Upload finds an upload that was begun before, by any process.
func (r *Repository) Upload(ctx context.Context, id string) (*Upload, error) {
	if !idGrammar.MatchString(id) {
		return nil, fmt.Errorf("upload %q: %w", id, ErrNotFound)
	}
	last, err := r.s.lastStep(ctx, id)
	if err != nil {
		return nil, err
	}
	if last.Repository != r.name {
		return nil, fmt.Errorf("upload %s: %w", id, ErrNotFound)
	}
	return &Upload{r: r, id: id, step: last}, nil
}

func (s *Store) lastStep(ctx context.Context, id string) (step, error) {
	key, after := "", ""
	for {
		names, err := s.d.List(ctx, uploadPrefix(id), after, 1000)
		if err != nil {
			return step{}, err
		}
		if len(names) == 0 {
			break
		}
		after = names[len(names)-1]
		key = uploadPrefix(id) + after
	}
	if key == "" {
		return step{}, fmt.Errorf("upload %s: %w", id, ErrNotFound)
	}
	data, _, err := s.d.Read(ctx, key)
	if err != nil {
		return step{}, notFound(err, "upload", id)
	}
	var last step
	if err := json.Unmarshal(data, &last); err != nil {
		return step{}, fmt.Errorf("upload %s: damaged: %w", id, err)
	}
	return last, nil
}

// ID names the upload in URLs.
func (u *Upload) ID() string { return u.id }

// Offset is how many bytes have been received.
func (u *Upload) Offset() int64 { return u.step.Offset }

// writer is an upload open for writing.
type writer struct {
	driver.Stream
	hash hash.Hash
}

func (u *Upload) open(ctx context.Context) (*writer, error) {
	h, err := newHash(u.step.Algorithm)
	if err != nil {
		return nil, err
	}
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(u.step.Hash); err != nil {
		return nil, fmt.Errorf("upload %s: damaged: %w", u.id, err)
	}
	stream, err := u.r.s.d.Stream(ctx, u.id, u.step.Stream)
	switch {
	case errors.Is(err, driver.ErrBusy):
		return nil, fmt.Errorf("upload %s: another request is writing to it: %w", u.id, ErrOutOfOrder)
	case err != nil:
		return nil, notFound(err, "upload", u.id)
	}
	// Between our reading the last step and having the stream, another writer may have finished one.
	last, err := u.r.s.lastStep(ctx, u.id)
	if err == nil && last.Offset != u.step.Offset {
		err = fmt.Errorf("upload %s: %w", u.id, ErrOutOfOrder)
	}
	if err != nil {
		stream.Close() //nolint:errcheck // the error that brought us here says more
		return nil, err
	}
	return &writer{stream, h}, nil
}

// copy appends what from yields. Bytes that arrived before an error are counted.
func (w *writer) copy(from io.Reader) (int64, error) {
	return io.CopyBuffer(io.MultiWriter(w.hash, onlyWriter{w.Stream}), onlyReader{from}, make([]byte, copyBuffer))
}

// onlyWriter and onlyReader hide methods that would make io.CopyBuffer pass its buffer by.
type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }

// Append adds what from yields to the upload and records how far it came, also where from breaks off in the middle: a
// client that lost its connection goes on from there.
func (u *Upload) Append(ctx context.Context, from io.Reader) error {
	w, err := u.open(ctx)
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // it only lets others write
	n, copyErr := w.copy(from)
	if n > 0 {
		// The request may be gone; what it brought is kept all the same.
		if err := u.record(context.WithoutCancel(ctx), w, n); err != nil {
			return errors.Join(copyErr, err)
		}
	}
	return copyErr
}

func (u *Upload) record(ctx context.Context, w *writer, n int64) error {
	next := u.step
	next.Offset += n
	var err error
	if next.Stream, err = w.Checkpoint(ctx); err != nil {
		return err
	}
	if next.Hash, err = w.hash.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return err
	}
	err = u.r.s.d.Create(ctx, uploadKey(u.id, next.Offset), mustJSON(next), driver.Relaxed)
	if errors.Is(err, driver.ErrExist) {
		return fmt.Errorf("upload %s: %w", u.id, ErrOutOfOrder)
	}
	if err == nil {
		u.step = next
	}
	return err
}

// Commit appends what from yields, checks that the whole has digest d, and makes it a blob of the repository. It is
// durable when Commit returns. Where the digest differs the upload is gone.
func (u *Upload) Commit(ctx context.Context, from io.Reader, d digest.Digest) error {
	w, err := u.open(ctx)
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // it only lets others write
	n, err := w.copy(from)
	if err != nil && n > 0 {
		err = errors.Join(err, u.record(context.WithoutCancel(ctx), w, n))
	}
	if err != nil {
		return err
	}
	found, err := u.digest(ctx, w, d.Algorithm())
	if err != nil {
		return err
	}
	if found != d {
		return errors.Join(fmt.Errorf("said to be %s, is %s: %w", d, found, ErrDigestMismatch), u.Cancel(ctx))
	}
	key := bytesKey(d, 0)
	if err := ignoreExist(w.Commit(ctx, key)); err != nil {
		return err
	}
	if err := u.r.addLink(ctx, d, key, u.step.Offset+n); err != nil {
		return err
	}
	// The blob is there whatever becomes of the upload's remains; purging finds those too.
	return ignoreCanceled(u.Cancel(context.WithoutCancel(ctx)))
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

// Cancel forgets the upload.
func (u *Upload) Cancel(ctx context.Context) error { return u.r.s.removeUpload(ctx, u.id) }

func (s *Store) removeUpload(ctx context.Context, id string) error {
	if err := s.d.Discard(ctx, id); err != nil {
		return err
	}
	for {
		names, err := s.d.List(ctx, uploadPrefix(id), "", 1000)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if err := s.d.Delete(ctx, uploadPrefix(id)+name); err != nil {
				return err
			}
		}
	}
}

// PurgeUploads forgets uploads that were begun before the given time, and returns how many those were. With dryRun it
// only counts.
func (s *Store) PurgeUploads(ctx context.Context, before time.Time, dryRun bool) (int, error) {
	count, after := 0, ""
	for {
		ids, err := s.d.List(ctx, uploadsPrefix, after, 1000)
		if err != nil || len(ids) == 0 {
			return count, err
		}
		for _, entry := range ids {
			after = entry
			id := entry[:len(entry)-1]
			last, err := s.lastStep(ctx, id)
			if errors.Is(err, ErrNotFound) || err == nil && !last.Started.Before(before) {
				continue
			}
			if err != nil {
				return count, err
			}
			count++
			if dryRun {
				continue
			}
			if err := s.removeUpload(ctx, id); err != nil {
				return count, err
			}
		}
	}
}
