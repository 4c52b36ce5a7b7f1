// Package inmemory is a driver that keeps everything in the process's memory, for trying things out and for tests.
package inmemory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/btree"

	"packregistry.dev/server/store/driver"
)

// Driver is a store in memory. Its zero value is not ready; use New.
type Driver struct {
	mu      sync.RWMutex
	objects map[string]object
	// keys are those of objects, in order: a page of a list costs what the page costs.
	keys    *btree.BTreeG[string]
	streams map[string]*content
}

type object struct {
	data    []byte
	version driver.Version
	modTime time.Time
}

func newObject(data []byte) object {
	sum := sha256.Sum256(data)
	return object{data, driver.Version(sum[:]), time.Now()}
}

type content struct {
	data []byte
	busy bool
}

var _ driver.Driver = (*Driver)(nil)

// New returns an empty store.
func New() *Driver {
	return &Driver{objects: map[string]object{}, keys: btree.NewOrderedG[string](64), streams: map[string]*content{}}
}

func (d *Driver) get(key string) (object, error) {
	if err := driver.CheckKey(key); err != nil {
		return object{}, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	o, ok := d.objects[key]
	if !ok {
		return object{}, fmt.Errorf("%s: %w", key, driver.ErrNotExist)
	}
	return o, nil
}

// Stat implements driver.Driver.
func (d *Driver) Stat(_ context.Context, key string) (driver.Info, error) {
	o, err := d.get(key)
	return driver.Info{Size: int64(len(o.data)), ModTime: o.modTime}, err
}

// Open implements driver.Driver.
func (d *Driver) Open(_ context.Context, key string) (driver.Object, error) {
	o, err := d.get(key)
	if err != nil {
		return nil, err
	}
	return &reader{bytes.NewReader(o.data), driver.Info{Size: int64(len(o.data)), ModTime: o.modTime}}, nil
}

type reader struct {
	*bytes.Reader
	info driver.Info
}

func (r *reader) Info() driver.Info { return r.info }
func (r *reader) Close() error      { return nil }

// Read implements driver.Driver.
func (d *Driver) Read(_ context.Context, key string) ([]byte, driver.Version, error) {
	o, err := d.get(key)
	if err != nil {
		return nil, "", err
	}
	return slices.Clip(o.data), o.version, nil
}

// Create implements driver.Driver.
func (d *Driver) Create(_ context.Context, key string, data []byte, _ driver.Durability) error {
	if err := driver.CheckKey(key); err != nil {
		return err
	}
	o := newObject(slices.Clone(data))
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.create(key, o)
}

// create is called with the lock held.
func (d *Driver) create(key string, o object) error {
	if _, ok := d.objects[key]; ok {
		return fmt.Errorf("%s: %w", key, driver.ErrExist)
	}
	d.objects[key] = o
	d.keys.ReplaceOrInsert(key)
	return nil
}

// Replace implements driver.Driver.
func (d *Driver) Replace(_ context.Context, key string, data []byte, old driver.Version) error {
	if err := driver.CheckKey(key); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	current, ok := d.objects[key]
	switch {
	case !ok && old != "":
		return fmt.Errorf("%s: %w", key, driver.ErrNotExist)
	case ok && current.version != old:
		return fmt.Errorf("%s: %w", key, driver.ErrChanged)
	}
	d.objects[key] = newObject(slices.Clone(data))
	d.keys.ReplaceOrInsert(key)
	return nil
}

// Delete implements driver.Driver.
func (d *Driver) Delete(_ context.Context, key string) error {
	if err := driver.CheckKey(key); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(key)
	return nil
}

func (d *Driver) remove(key string) {
	delete(d.objects, key)
	d.keys.Delete(key)
}

// DeleteUnchanged implements driver.Driver.
func (d *Driver) DeleteUnchanged(_ context.Context, key string, old driver.Version) error {
	if err := driver.CheckKey(key); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if current, ok := d.objects[key]; ok && current.version != old {
		return fmt.Errorf("%s: %w", key, driver.ErrChanged)
	}
	d.remove(key)
	return nil
}

// List implements driver.Driver.
func (d *Driver) List(_ context.Context, prefix, after string, limit int) ([]string, error) {
	if err := driver.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	var names []string
	d.mu.RLock()
	defer d.mu.RUnlock()
	for from := prefix + after; len(names) < limit; {
		name, found := d.next(prefix, from, after)
		if !found {
			break
		}
		names = append(names, name)
		after, from = name, prefix+name
		if strings.HasSuffix(name, "/") {
			from = prefix + name[:len(name)-1] + "0" // "0" comes after "/": past everything below that name
		}
	}
	return names, nil
}

// next returns the first name below prefix that comes after the given one, of keys at or after from.
func (d *Driver) next(prefix, from, after string) (name string, found bool) {
	d.keys.AscendGreaterOrEqual(from, func(key string) bool {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			return false
		}
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			rest = rest[:i+1]
		}
		name, found = rest, rest > after
		return !found
	})
	return name, found
}

// Stream implements driver.Driver. The state is the number of bytes.
func (d *Driver) Stream(_ context.Context, id string, state []byte) (driver.Stream, error) {
	var size int
	if state != nil {
		if _, err := fmt.Sscanf(string(state), "%d", &size); err != nil {
			return nil, fmt.Errorf("stream %s: state %q: %w", id, state, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.streams[id]
	if !ok {
		if size > 0 {
			return nil, fmt.Errorf("stream %s: %w", id, driver.ErrNotExist)
		}
		c = &content{}
		d.streams[id] = c
	}
	if c.busy {
		return nil, fmt.Errorf("stream %s: %w", id, driver.ErrBusy)
	}
	if len(c.data) < size {
		return nil, fmt.Errorf("stream %s: holds %d bytes, not %d: %w", id, len(c.data), size, driver.ErrNotExist)
	}
	c.busy = true
	return &stream{d: d, c: c, id: id, size: size}, nil
}

// Discard implements driver.Driver. What somebody is writing at this moment stays.
func (d *Driver) Discard(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.streams[id]; c != nil && !c.busy {
		delete(d.streams, id)
	}
	return nil
}

type stream struct {
	d    *Driver
	c    *content
	id   string
	size int
	// used says that what came after the checkpoint was forgotten.
	used bool
	// committed says that the content is an object now.
	committed bool
}

func (s *stream) use() {
	if !s.used {
		s.used, s.c.data = true, s.c.data[:s.size:s.size]
	}
}

func (s *stream) Write(p []byte) (int, error) {
	if s.committed {
		return 0, fmt.Errorf("stream %s: written to after its commit", s.id)
	}
	s.use()
	s.c.data = append(s.c.data, p...)
	return len(p), nil
}

func (s *stream) Checkpoint(context.Context) ([]byte, error) {
	s.use()
	return fmt.Appendf(nil, "%d", len(s.c.data)), nil
}

// Commit takes the stream's name away in the step that gives its content a key, as a file system does.
func (s *stream) Commit(_ context.Context, key string) error {
	if err := driver.CheckKey(key); err != nil {
		return err
	}
	s.use()
	o := newObject(s.c.data[:len(s.c.data):len(s.c.data)])
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.d.streams[s.id] != s.c {
		return fmt.Errorf("stream %s: %w", s.id, driver.ErrNotExist)
	}
	if err := s.d.create(key, o); err != nil {
		return err
	}
	s.committed = true
	delete(s.d.streams, s.id)
	return nil
}

func (s *stream) Reader(context.Context) (io.ReadCloser, error) {
	s.use()
	return io.NopCloser(bytes.NewReader(s.c.data)), nil
}

// Exclusive implements driver.Stream.
func (s *stream) Exclusive() bool { return true }

// CommitDirectly implements driver.Stream.
func (s *stream) CommitDirectly(string) {}

// Discard removes the stream. After a commit there is none, and one of that name is another's.
func (s *stream) Discard(context.Context) error {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.d.streams[s.id] == s.c {
		delete(s.d.streams, s.id)
	}
	return nil
}

func (s *stream) Close() error {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.c.busy = false
	return nil
}
