package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"packregistry.dev/server/store/driver"
)

// busyAfter is how long Stream waits for another writer: a client that lost its connection comes back at once, while
// the request that it lost may take a moment to notice.
const busyAfter = 3 * time.Second

func (d *Driver) stream(id string) (string, error) {
	if err := driver.CheckKey(id); err != nil {
		return "", err
	}
	if filepath.Base(id) != id {
		return "", fmt.Errorf("%w: stream %q", driver.ErrInvalidKey, id)
	}
	return d.path("streams", id), nil
}

// Stream implements driver.Driver. The state is the number of bytes that are there; the lock on the file is the
// exclusive right to append.
func (d *Driver) Stream(ctx context.Context, id string, state []byte) (driver.Stream, error) {
	path, err := d.stream(id)
	if err != nil {
		return nil, err
	}
	size, flags := int64(0), os.O_RDWR|os.O_CREATE
	if state != nil {
		flags = os.O_RDWR
		if size, err = strconv.ParseInt(string(state), 10, 64); err != nil {
			return nil, fmt.Errorf("stream %s: state %q: %w", id, state, err)
		}
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, translate("stream "+id, err)
	}
	s := &stream{d: d, f: f, id: id}
	if err := s.prepare(ctx, size); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

type stream struct {
	d  *Driver
	f  *os.File
	id string
	n  int64
	// kept is how much of it stays when the stream is closed.
	kept int64
	// used says that what came after the checkpoint was forgotten.
	used bool
}

// prepare takes the lock and looks whether everything up to the checkpoint is there.
func (s *stream) prepare(ctx context.Context, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, busyAfter)
	defer cancel()
	if err := flock(ctx, s.f); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = driver.ErrBusy
		}
		return fmt.Errorf("stream %s: %w", s.id, err)
	}
	// Whoever held the lock before may have discarded the stream: then our file has no name any more.
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(s.f.Name())
	if err != nil || !os.SameFile(info, named) {
		return fmt.Errorf("stream %s: %w", s.id, driver.ErrNotExist)
	}
	if info.Size() < size {
		return fmt.Errorf("stream %s: holds %d bytes, not %d: %w", s.id, info.Size(), size, driver.ErrNotExist)
	}
	s.n, s.kept = size, size
	return nil
}

// use forgets what came after the checkpoint.
func (s *stream) use() error {
	if s.used {
		return nil
	}
	if err := s.f.Truncate(s.n); err != nil {
		return err
	}
	_, err := s.f.Seek(s.n, io.SeekStart)
	s.used = err == nil
	return err
}

func (s *stream) Write(p []byte) (int, error) {
	if err := s.use(); err != nil {
		return 0, err
	}
	n, err := s.f.Write(p)
	s.n += int64(n)
	return n, err
}

func (s *stream) Checkpoint(context.Context) ([]byte, error) {
	s.kept = s.n
	return strconv.AppendInt(nil, s.n, 10), nil
}

func (s *stream) Commit(_ context.Context, key string) error {
	path, err := s.d.object(key)
	if err != nil {
		return err
	}
	if err := s.use(); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	s.kept = s.n
	return s.d.link(s.f.Name(), path, key, driver.Durable)
}

func (s *stream) Reader(context.Context) (io.ReadCloser, error) {
	if err := s.use(); err != nil {
		return nil, err
	}
	return os.Open(s.f.Name())
}

// Exclusive implements driver.Stream.
func (s *stream) Exclusive() bool { return true }

// Aim implements driver.Stream: a file is linked to its key at the end, wherever it lies.
func (s *stream) Aim(string) {}

func (s *stream) Discard(ctx context.Context) error { return s.d.Discard(ctx, s.id) }

// Close gives back the room of what nobody will ask for again: the volume may be full because of it.
func (s *stream) Close() error {
	var err error
	if s.n > s.kept {
		err = s.f.Truncate(s.kept)
	}
	return errors.Join(err, s.f.Close())
}

// Discard implements driver.Driver.
func (d *Driver) Discard(_ context.Context, id string) error {
	path, err := d.stream(id)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return translate("stream "+id, err)
	}
	return nil
}

// Purge implements driver.Purger: it removes streams that nobody has written to since the given time.
func (d *Driver) Purge(_ context.Context, before time.Time, dryRun bool) (int, error) {
	entries, err := os.ReadDir(d.path("streams"))
	if err != nil {
		return 0, err
	}
	count := 0
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.ModTime().Before(before) {
			continue
		}
		count++
		if dryRun {
			continue
		}
		if err := os.Remove(d.path("streams", e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return count, err
		}
	}
	return count, nil
}
