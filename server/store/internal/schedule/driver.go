package schedule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// Promises are what a kind of storage promises, as far as kinds differ. All of them read what was written last, list
// what is there, and create and replace on a condition in one piece.
type Promises struct {
	Name string
	// ConditionalDelete says that DeleteUnchanged compares and deletes in one piece; otherwise it is not supported.
	ConditionalDelete bool
	// ExclusiveStreams says that a stream has one writer at a time, all of whom write to the same bytes. Otherwise each
	// writes for itself, and a stream that was discarded can be committed no more.
	ExclusiveStreams bool
	// LateWrites says that a write can take effect after its caller is gone, or a second time.
	LateWrites bool
}

// The kinds of storage that the registry runs on.
var (
	FileSystem = Promises{Name: "file system", ConditionalDelete: true, ExclusiveStreams: true}
	// S3 is a server other than AWS's own.
	S3 = Promises{Name: "S3 without conditional deletes", LateWrites: true}
)

// Driver is an in-memory storage whose calls are scheduled, where they come from a thread of a run. Other calls (those
// of the set-up and of the check) happen at once.
type Driver struct {
	*inmemory.Driver
	promises Promises
	// saved are the checkpoints of streams that are not exclusive, by id, and discarded those that went.
	saved     map[string][][]byte
	discarded map[string]bool
	// committed are ids of streams whose checkpoints belong to an object.
	committed map[string]bool
}

func newDriver(p Promises) *Driver {
	return &Driver{Driver: inmemory.New(), promises: p, saved: map[string][][]byte{}, discarded: map[string]bool{}, committed: map[string]bool{}}
}

var _ driver.Driver = (*Driver)(nil)

// Stat implements driver.Driver.
func (d *Driver) Stat(ctx context.Context, key string) (info driver.Info, err error) {
	err = point(ctx, &call{method: "Stat", key: key, does: func() (err error) {
		info, err = d.Driver.Stat(ctx, key)
		return err
	}})
	return info, err
}

// Open implements driver.Driver.
func (d *Driver) Open(ctx context.Context, key string) (o driver.Object, err error) {
	err = point(ctx, &call{method: "Open", key: key, does: func() (err error) {
		o, err = d.Driver.Open(ctx, key)
		return err
	}})
	return o, err
}

// Read implements driver.Driver.
func (d *Driver) Read(ctx context.Context, key string) (data []byte, version driver.Version, err error) {
	err = point(ctx, &call{method: "Read", key: key, does: func() (err error) {
		data, version, err = d.Driver.Read(ctx, key)
		return err
	}})
	return data, version, err
}

// List implements driver.Driver.
func (d *Driver) List(ctx context.Context, prefix, after string, limit int) (names []string, err error) {
	c := &call{method: "List", key: prefix, after: after}
	c.does = func() (err error) {
		names, err = d.Driver.List(ctx, prefix, after, limit)
		c.found = names
		return err
	}
	err = point(ctx, c)
	return names, err
}

// Create implements driver.Driver.
func (d *Driver) Create(ctx context.Context, key string, data []byte, durability driver.Durability) error {
	return point(ctx, &call{method: "Create", key: key, writes: true, does: func() error {
		return d.Driver.Create(ctx, key, data, durability)
	}})
}

// Replace implements driver.Driver.
func (d *Driver) Replace(ctx context.Context, key string, data []byte, old driver.Version) error {
	return point(ctx, &call{method: "Replace", key: key, writes: true, does: func() error {
		return d.Driver.Replace(ctx, key, data, old)
	}})
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, key string) error {
	return point(ctx, &call{method: "Delete", key: key, writes: true, deletes: true, does: func() error {
		return d.Driver.Delete(ctx, key)
	}})
}

// DeleteUnchanged implements driver.Driver.
func (d *Driver) DeleteUnchanged(ctx context.Context, key string, old driver.Version) error {
	if !d.promises.ConditionalDelete {
		return fmt.Errorf("%s: deleting on a condition: %w", key, errors.ErrUnsupported)
	}
	return point(ctx, &call{method: "DeleteUnchanged", key: key, writes: true, deletes: true, does: func() error {
		return d.Driver.DeleteUnchanged(ctx, key, old)
	}})
}

// streamKey is what a call on a stream touches.
func streamKey(id string) string { return "(stream)/" + id }

// Stream implements driver.Driver.
func (d *Driver) Stream(ctx context.Context, id string, state []byte) (s driver.Stream, err error) {
	if !d.promises.ExclusiveStreams {
		return d.ownStream(id, state) // it makes no call
	}
	err = point(ctx, &call{method: "Stream", key: streamKey(id), writes: true, does: func() (err error) {
		s, err = d.Driver.Stream(ctx, id, state)
		return err
	}})
	if err != nil {
		return nil, err
	}
	return exclusiveStream{s, id}, nil
}

// Discard implements driver.Driver.
func (d *Driver) Discard(ctx context.Context, id string) error {
	return point(ctx, &call{method: "Discard", key: streamKey(id), writes: true, does: func() error {
		if d.promises.ExclusiveStreams {
			return d.Driver.Discard(ctx, id)
		}
		if !d.committed[id] {
			d.discarded[id] = true
		}
		delete(d.saved, id)
		return nil
	}})
}

// Purge implements driver.Purger: it removes checkpoints of streams that were begun before, by their ids.
func (d *Driver) Purge(_ context.Context, _, before time.Time, dryRun bool) (int, error) {
	for id := range d.saved {
		if seconds, err := strconv.ParseInt(id[:10], 16, 64); err == nil && time.Unix(seconds, 0).Before(before) && !dryRun {
			delete(d.saved, id)
		}
	}
	return 0, nil
}

// Streams returns the ids of streams that hold bytes.
func (d *Driver) Streams() []string {
	var ids []string
	for id := range d.saved {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// exclusiveStream is a stream of the in-memory driver whose calls are scheduled. What is written needs no scheduling, since
// nobody else can see it.
type exclusiveStream struct {
	driver.Stream
	id string
}

func (s exclusiveStream) Checkpoint(ctx context.Context) (state []byte, err error) {
	err = point(ctx, &call{method: "Checkpoint", key: streamKey(s.id), writes: true, does: func() (err error) {
		state, err = s.Stream.Checkpoint(ctx)
		return err
	}})
	return state, err
}

func (s exclusiveStream) Commit(ctx context.Context, key string) error {
	return point(ctx, &call{method: "Commit", key: key, writes: true, does: func() error { return s.Stream.Commit(ctx, key) }})
}

func (s exclusiveStream) Discard(ctx context.Context) error {
	return point(ctx, &call{method: "Discard", key: streamKey(s.id), writes: true, does: func() error { return s.Stream.Discard(ctx) }})
}

// ownStream is a stream of which each opener has its own, as on S3: what was written goes away with the opener, unless
// there was a checkpoint.
type ownStream struct {
	d      *Driver
	id     string
	direct string
	data   []byte
	// stored says that something of the stream lies in the storage.
	stored, committed bool
}

func (d *Driver) ownStream(id string, state []byte) (driver.Stream, error) {
	s := &ownStream{d: d, id: id}
	if state == nil {
		return s, nil
	}
	number, err := strconv.Atoi(string(state))
	if err != nil {
		return nil, fmt.Errorf("stream %s: state %q: %w", id, state, err)
	}
	s.stored = true
	if saved := d.saved[id]; number < len(saved) {
		s.data = slices.Clone(saved[number])
		return s, nil
	}
	return nil, fmt.Errorf("stream %s: %w", id, driver.ErrNotExist)
}

func (s *ownStream) Write(p []byte) (int, error) {
	s.data = append(s.data, p...)
	return len(p), nil
}

func (s *ownStream) Exclusive() bool           { return false }
func (s *ownStream) CommitDirectly(key string) { s.direct = key }
func (s *ownStream) Close() error              { return nil }

func (s *ownStream) Checkpoint(ctx context.Context) (state []byte, err error) {
	err = point(ctx, &call{method: "Checkpoint", key: streamKey(s.id), writes: true, does: func() error {
		s.d.saved[s.id] = append(s.d.saved[s.id], slices.Clone(s.data))
		s.stored = true
		state = strconv.AppendInt(nil, int64(len(s.d.saved[s.id])-1), 10)
		return nil
	}})
	return state, err
}

func (s *ownStream) Commit(ctx context.Context, key string) error {
	return point(ctx, &call{method: "Commit", key: key, also: streamKey(s.id), writes: true, does: func() error {
		if s.stored && s.d.discarded[s.id] {
			return fmt.Errorf("stream %s: discarded: %w", s.id, driver.ErrNotExist)
		}
		err := s.d.Driver.Create(ctx, key, s.data, driver.Durable)
		if err == nil {
			s.committed, s.d.committed[s.id] = true, s.stored
		}
		return err
	}})
}

func (s *ownStream) Reader(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.data)), nil
}

func (s *ownStream) Discard(ctx context.Context) error {
	if !s.stored {
		return nil
	}
	return s.d.Discard(ctx, s.id)
}

// kind names what came of a call, for fingerprints and for people.
func kind(err error) string {
	for name, known := range map[string]error{"there is none": driver.ErrNotExist, "exists already": driver.ErrExist, "was changed": driver.ErrChanged,
		"busy": driver.ErrBusy, "unsupported": errors.ErrUnsupported, "cancelled": context.Canceled} {
		if errors.Is(err, known) {
			return name
		}
	}
	if err == nil {
		return "ok"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
