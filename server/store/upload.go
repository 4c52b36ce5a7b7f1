package store

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// Upload is a blob in the making. Its state lives in the store, so that any process can go on with it: each finished
// step is an object of its own, created only where there is none, and so of two that write at once one wins.
type Upload struct {
	r  *Repository
	id string
	// number counts the steps that are finished, and step is the last of them.
	number int
	step   step
	// singleRequest says that nobody else knows of it.
	singleRequest bool
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

// copyBuffer is how much is read at once: large enough to hash and write at full speed. Hundreds of clients may send at once, and
// slowly: smallBuffer is what each has at first, and as long as largeBuffers others have a large one.
const (
	copyBuffer   = 1 << 20
	smallBuffer  = 32 << 10
	largeBuffers = 64
)

var (
	smallCopies = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeCopies = make(chan struct{}, largeBuffers)
)

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
//
// It costs nothing: an upload of which nothing was stored yet is its id.
func (r *Repository) NewUpload(a digest.Algorithm) (*Upload, error) {
	return r.newUpload(a)
}

func (r *Repository) newUpload(a digest.Algorithm) (*Upload, error) {
	started := r.s.now().UTC()
	first, err := firstStep(r.name, started, a)
	return &Upload{r: r, id: uploadID(r.name, started, a), step: first}, err
}

// PutStream stores a blob whose digest is known in one go, without an upload that others could see.
func (r *Repository) PutStream(ctx context.Context, from io.Reader, d digest.Digest) error {
	u, err := r.newUpload(d.Algorithm())
	if err != nil {
		return err
	}
	u.singleRequest = true
	return u.Commit(ctx, from, d)
}

// firstStep is how every upload begins. It follows from the upload's id, so that nobody needs to read it.
func firstStep(repository string, started time.Time, a digest.Algorithm) (step, error) {
	h, err := newHash(a)
	if err != nil {
		return step{}, err
	}
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	return step{Repository: repository, Started: started, Algorithm: a, Hash: state}, err
}

// An upload's id says when it began, with which algorithm, and (by a hash) in which repository, so that its beginning
// costs neither a write nor a read: 10 digits of time, a letter, 16 of the repository, 32 at random.
var algorithmLetters = map[digest.Algorithm]string{digest.SHA256: "s", digest.SHA512: "t"}

func uploadID(repository string, started time.Time, a digest.Algorithm) string {
	return fmt.Sprintf("%010x%s%s%s", started.Unix(), algorithmLetters[a], repositoryHash(repository), nonce())
}

func repositoryHash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8])
}

// uploadStarted returns when the upload of that id began; the zero time for what is no id.
func uploadStarted(id string) time.Time {
	if !idGrammar.MatchString(id) {
		return time.Time{}
	}
	seconds, err := strconv.ParseInt(id[:10], 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// expired says that an upload is so old that purging forgets it.
func (s *Store) expired(id string) bool {
	return s.UploadAge > 0 && uploadStarted(id).Before(s.now().Add(-s.UploadAge))
}

// maxAhead is how far another replica's clock may be ahead of ours.
const maxAhead = time.Hour

// Upload finds an upload that was begun before, by any process.
func (r *Repository) Upload(ctx context.Context, id string) (*Upload, error) {
	if !idGrammar.MatchString(id) || id[11:27] != repositoryHash(r.name) || uploadStarted(id).After(r.s.now().Add(maxAhead)) || r.s.expired(id) {
		return nil, fmt.Errorf("upload %q: %w", id, ErrNotFound)
	}
	u := &Upload{r: r, id: id}
	var err error
	u.number, err = r.steps(ctx, id)
	if err != nil {
		return nil, err
	}
	if u.number == 0 {
		algorithm := digest.SHA256
		if id[10:11] == algorithmLetters[digest.SHA512] {
			algorithm = digest.SHA512
		}
		u.step, err = firstStep(r.name, uploadStarted(id), algorithm)
		return u, err
	}
	return u, u.readStep(ctx)
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

// restoreHash returns the digest's state over what was received so far.
func (u *Upload) restoreHash() (hash.Hash, error) {
	h, err := newHash(u.step.Algorithm)
	if err != nil {
		return nil, err
	}
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(u.step.Hash); err != nil {
		return nil, fmt.Errorf("upload %s: damaged: %w", u.id, err)
	}
	return h, nil
}

func (u *Upload) open(ctx context.Context) (*writer, error) {
	h, err := u.restoreHash()
	if err != nil {
		return nil, err
	}
	stream, err := u.r.s.d.Stream(ctx, u.id, u.step.Stream)
	switch {
	case errors.Is(err, driver.ErrBusy):
		return nil, fmt.Errorf("upload %s: another request is writing to it: %w", u.id, ErrOutOfOrder)
	case err != nil:
		return nil, notFound(err, "upload", u.id)
	}
	// Between our reading the last step and having the stream, another writer may have finished one.
	if stream.Exclusive() && !u.singleRequest {
		number, err := u.r.steps(ctx, u.id)
		if err == nil && number != u.number {
			err = fmt.Errorf("upload %s: %w", u.id, ErrOutOfOrder)
		}
		if err != nil {
			stream.Close() //nolint:errcheck // the error that brought us here says more
			return nil, err
		}
	}
	return &writer{stream, h}, nil
}

// Write hashes what the stream took, and no more: where the storage is full in the middle of a write the upload goes on from there.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.Stream.Write(p)
	w.hash.Write(p[:n]) //nolint:errcheck // never fails
	return n, err
}

// copy appends what from yields. Bytes that arrived before an error are counted.
func (w *writer) copy(from io.Reader) (int64, error) {
	to := onlyWriter{w}
	small := smallCopies.Get().(*[smallBuffer]byte) //nolint:forcetypeassert // nothing else is put there
	defer smallCopies.Put(small)
	n, err := io.CopyBuffer(to, io.LimitReader(from, copyBuffer), small[:])
	if err != nil || n < copyBuffer {
		return n, err
	}
	buffer := small[:]
	select {
	case largeCopies <- struct{}{}:
		defer func() { <-largeCopies }()
		buffer = make([]byte, copyBuffer)
	default:
	}
	more, err := io.CopyBuffer(to, onlyReader{from}, buffer)
	return n + more, err
}

// onlyWriter and onlyReader hide methods that would make io.CopyBuffer pass its buffer by.
type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }

// Append adds what from yields to the upload and records how far it came, also where from breaks off in the middle: a
// client that lost its connection goes on from there.
func (u *Upload) Append(ctx context.Context, from io.Reader) error {
	if u.number >= maxSteps {
		return fmt.Errorf("upload %s came in %d requests; send the rest in one, and larger chunks the next time: %w", u.id, u.number, ErrTooManySteps)
	}
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
	return u.outdated(ctx, copyErr)
}
