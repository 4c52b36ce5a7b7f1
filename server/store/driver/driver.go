// Package driver says what the registry needs of a place to keep objects, whatever that place is: a file system, a
// bucket, the process's memory.
//
// Objects have keys (path-like, components separated by "/", in byte order) and are written whole: created where there
// was none, replaced where nothing changed meanwhile, or deleted. Nothing else changes an object, so that any number
// of processes can serve one store without losing each other's writes. Content that is too large for one write is a
// Stream: bytes gathered out of sight, over several requests and perhaps several processes, and given a key at the end
// without being copied.
//
// Every driver passes the same suite, package drivertest.
package driver

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that every driver returns; wrap them, compare with errors.Is.
var (
	// ErrNotExist: there is no object of that key.
	ErrNotExist = errors.New("object does not exist")
	// ErrExist: Create or Commit found an object of that key; it is as it was.
	ErrExist = errors.New("object exists already")
	// ErrChanged: Replace found another version than the one named; the object is as it was.
	ErrChanged = errors.New("object was changed meanwhile")
	// ErrBusy: somebody else is writing to that stream.
	ErrBusy = errors.New("stream is being written to")
	// ErrInvalidKey: the key is empty, has an empty, "." or ".." component, or holds a NUL byte.
	ErrInvalidKey = errors.New("invalid key")
)

// Durability says what must be true before a write is acknowledged.
type Durability bool

const (
	// Durable means that the object survives the loss of power.
	Durable Durability = true
	// Relaxed means that the object survives the end of the process; losing it with the machine costs a client a retry.
	Relaxed Durability = false
)

// Version identifies the content of an object; it is opaque, and differs where the content does.
type Version string

// Info is what is known of an object without reading it.
type Info struct {
	Size    int64
	ModTime time.Time
}

// Object is an object open for reading.
type Object interface {
	io.ReadSeekCloser
	Info() Info
}

// Driver is a place to keep objects. All methods may be called at once, from several processes.
type Driver interface {
	// Stat returns an object's size without reading it, or ErrNotExist.
	Stat(ctx context.Context, key string) (Info, error)
	// Open opens an object for reading, or returns ErrNotExist.
	Open(ctx context.Context, key string) (Object, error)
	// Read returns a small object whole, and its version. Others may hold the same bytes: nobody changes them.
	Read(ctx context.Context, key string) ([]byte, Version, error)
	// Create writes an object where there is none, or returns ErrExist.
	Create(ctx context.Context, key string, data []byte, d Durability) error
	// Replace writes over an object whose version is still old, or returns ErrChanged (ErrNotExist where it is gone).
	// An empty version stands for an object that does not exist. A write whose answer was lost on the way, and that was
	// written over before it could be repeated, returns ErrChanged too.
	Replace(ctx context.Context, key string, data []byte, old Version) error
	// Delete removes an object, durably unless WithRelaxedDelete says otherwise. Removing what is not there is no error.
	Delete(ctx context.Context, key string) error
	// DeleteUnchanged removes an object whose version is still old, or returns ErrChanged; it may return
	// errors.ErrUnsupported. Removing what is not there is no error.
	DeleteUnchanged(ctx context.Context, key string, old Version) error
	// List returns up to limit names directly below prefix, which ends in "/", that come after the given name, in byte
	// order; fewer are the last ones. A name that stands for further objects ends in "/", which counts in the order. On a
	// bucket it costs what the page costs, wherever it begins.
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)

	// Stream begins the stream of that id, or goes on with it where state (from Checkpoint) left off. What was written
	// after that checkpoint is forgotten with the first use of the Stream, not before: a caller whose state is outdated
	// can find that out, since it alone may write now, and close the Stream without harm. It returns ErrBusy where
	// somebody else is writing.
	Stream(ctx context.Context, id string, state []byte) (Stream, error)
	// Discard removes the bytes of a stream that will not be committed. Those of one that was committed stay, wherever
	// the driver keeps them.
	Discard(ctx context.Context, id string) error
}

// Stream is content in the making. Nobody sees it before Commit.
type Stream interface {
	io.Writer
	// Exclusive says that nobody else can write to the stream until Close, and that what others wrote may be forgotten
	// by using it: whoever opened it should look now whether the state is still the last one. Where it is false every
	// opener writes for itself.
	Exclusive() bool
	// CommitDirectly says, before anything is written to a stream without a state, that the content will be committed under that
	// key or not at all. The driver may bring the bytes there at once; Checkpoint must not be called then.
	CommitDirectly(key string)
	// Checkpoint makes what was written last until the process ends and returns what Stream needs to go on, here or in
	// another process.
	Checkpoint(ctx context.Context) (state []byte, err error)
	// Commit makes the content durable and gives it a key, or returns ErrExist where another object has it.
	Commit(ctx context.Context, key string) error
	// Reader reads what was written so far, from the beginning.
	Reader(ctx context.Context) (io.ReadCloser, error)
	// Discard removes what the stream needs no more: after Commit what is not part of the object, else everything.
	Discard(ctx context.Context) error
	// Close lets others write to the stream. It does not discard it.
	Close() error
}

// Redirector is a driver whose objects clients can read by themselves.
type Redirector interface {
	// Redirects says whether it has any addresses to give.
	Redirects() bool
	// URL returns an address at which the object can be read for a while without any credential, or "" where it has
	// none; ErrNotExist where there is no such object.
	URL(ctx context.Context, key string) (string, error)
}

// Purger is a driver that can hold bytes which no stream knows of any more, after the death of a process.
type Purger interface {
	// Purge removes what was begun before the given time and never finished, and returns how much that was. What was begun
	// and finished before since was looked at by an earlier purge. With dryRun it only counts. Where single things cannot be
	// removed it goes on with the others, and returns ErrPartly.
	Purge(ctx context.Context, since, before time.Time, dryRun bool) (int, error)
}

// Prober is a driver that can try what a push needs of its place.
type Prober interface {
	// Probe returns what would fail every push, and what to do about it. A place that is full is none of that.
	Probe(ctx context.Context) error
}

// reserveKey is the context's key of WithReserve.
type reserveKey struct{}

// WithReserve marks writes that make room, or lead to that: where a place is full they may use what its driver keeps back for
// them.
func WithReserve(ctx context.Context) context.Context {
	return context.WithValue(ctx, reserveKey{}, true)
}

// MayUseReserve says whether a write is one of those.
func MayUseReserve(ctx context.Context) bool { return ctx.Value(reserveKey{}) != nil }

// relaxedKey is the context's key of WithRelaxedDelete.
type relaxedKey struct{}

// WithRelaxedDelete marks deletions of what does no harm where it comes back with the loss of power.
func WithRelaxedDelete(ctx context.Context) context.Context {
	return context.WithValue(ctx, relaxedKey{}, true)
}

// DeleteDurability says what must be true before a deletion is acknowledged.
func DeleteDurability(ctx context.Context) Durability {
	if ctx.Value(relaxedKey{}) != nil {
		return Relaxed
	}
	return Durable
}

// Spacer is a driver that knows how full its place is.
type Spacer interface {
	// Space returns how many bytes can still be written, and how many there are in all.
	Space(ctx context.Context) (free, size uint64, err error)
}

// Reclaimer is a driver whose objects may stand for bytes that lie elsewhere.
type Reclaimer interface {
	// Reclaim is Delete for content that was committed from a stream: it removes the bytes too.
	Reclaim(ctx context.Context, key string) error
	// Incomplete returns what is missing of the bytes that an object stands for, or "".
	Incomplete(ctx context.Context, key string) (missing string, err error)
}

// Entry is a name in a list, with the version of the object of that name.
type Entry struct {
	Name    string
	Version Version
}

// VersionLister is a driver whose lists say which versions objects have, at no cost.
type VersionLister interface {
	// ListVersions is Driver.List with versions, without names that stand for further objects.
	ListVersions(ctx context.Context, prefix, after string, limit int) ([]Entry, error)
}

// Foreigner is a driver that can recognize another program's store, in the place where its own would be.
type Foreigner interface {
	// Foreign says whether the layout of a CNCF distribution registry is there.
	Foreign(ctx context.Context) (bool, error)
}

// As finds an ability in a driver, or in what it wraps.
func As[T any](d Driver) (ability T, ok bool) {
	for d != nil {
		if ability, ok = d.(T); ok {
			return ability, true
		}
		wrapper, wraps := d.(interface{ Unwrap() Driver })
		if !wraps {
			break
		}
		d = wrapper.Unwrap()
	}
	return ability, false
}
