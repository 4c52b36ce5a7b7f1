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
// exclusive right to append, to move the file and to remove its name.
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
	for {
		f, err := d.openFile(path, flags)
		if err != nil {
			return nil, translate("stream "+id, err)
		}
		s := &stream{d: d, f: f, id: id, path: path}
		err = s.prepare(ctx, size)
		if err == nil {
			return s, nil
		}
		s.f.Close() //nolint:errcheck // nothing was written to it
		// The one before has ended it while we waited; what begins anew needs nothing of that.
		if state != nil || !errors.Is(err, driver.ErrNotExist) || ctx.Err() != nil {
			return nil, err
		}
	}
}

type stream struct {
	d    *Driver
	f    *os.File
	id   string
	path string
	n    int64
	// kept is how much of it stays when the stream is closed.
	kept int64
	// used says that what came after the checkpoint was forgotten.
	used bool
	// committed says that the file is an object now, which nobody may write to.
	committed bool
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
	// Whoever held the lock before may have committed or discarded the stream: then our file has that name no more.
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	if !hasName(info, s.path) {
		return fmt.Errorf("stream %s: %w", s.id, driver.ErrNotExist)
	}
	if info.Size() < size {
		return fmt.Errorf("stream %s: holds %d bytes, not %d: %w", s.id, info.Size(), size, driver.ErrNotExist)
	}
	s.n, s.kept = size, size
	if links(info) > 1 {
		return s.detach(ctx, size)
	}
	return nil
}

// hasName says whether a file is the one that a path leads to.
func hasName(file fs.FileInfo, path string) bool {
	named, err := os.Stat(path)
	return err == nil && os.SameFile(file, named)
}

// detach gives the stream a file of its own with the first bytes of the one that it has. That one has a second name: it
// is an object, whose writer died between committing it and taking this name away, or a backup made of hard links.
func (s *stream) detach(ctx context.Context, size int64) error {
	f, err := s.d.createTemp("stream-")
	if err != nil {
		return err
	}
	err = flock(ctx, f)
	if err == nil {
		_, err = io.CopyN(f, s.f, size)
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		os.Remove(f.Name()) //nolint:errcheck // swept later
		return errors.Join(err, f.Close())
	}
	s.f.Close() //nolint:errcheck // it was only read
	s.f = f
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
	if s.committed {
		return 0, fmt.Errorf("stream %s: written to after its commit", s.id)
	}
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
	if err := s.d.sync(s.f); err != nil {
		return err
	}
	s.kept = s.n
	// The lock is held: the name stands for this file, unless somebody removed it by hand.
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	if !hasName(info, s.path) {
		return fmt.Errorf("stream %s: %w", s.id, driver.ErrNotExist)
	}
	err = s.d.place(s.d.move, s.path, path, key, driver.Durable)
	s.committed = err == nil
	return err
}

func (s *stream) Reader(context.Context) (io.ReadCloser, error) {
	if err := s.use(); err != nil {
		return nil, err
	}
	return s.d.openFile(s.path, os.O_RDONLY)
}

// Exclusive implements driver.Stream.
func (s *stream) Exclusive() bool { return true }

// CommitDirectly implements driver.Stream: a file is linked to its key at the end, wherever it lies.
func (s *stream) CommitDirectly(string) {}

// Discard removes the name. After a commit there is none, and a stream of that name is another's.
func (s *stream) Discard(context.Context) error {
	if s.committed {
		return nil
	}
	return s.d.removeStream(s.f, s.path)
}

// Close gives back the room of what nobody will ask for again: the volume may be full because of it.
func (s *stream) Close() error {
	var err error
	if s.n > s.kept && !s.committed {
		err = s.f.Truncate(s.kept)
	}
	return errors.Join(err, s.f.Close())
}

// Discard implements driver.Driver. What somebody is writing at this moment stays until it is purged: were its name taken
// away, he would commit whatever another has begun under that name since.
func (d *Driver) Discard(ctx context.Context, id string) error {
	path, err := d.stream(id)
	if err != nil {
		return err
	}
	return d.discard(ctx, path, busyAfter)
}

// discard removes a stream unless another holds its lock for longer than the patience allows.
func (d *Driver) discard(ctx context.Context, path string, patience time.Duration) error {
	f, err := d.openFile(path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return translate("stream "+filepath.Base(path), err)
	}
	defer f.Close()
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := flock(wait, f); err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return nil
		}
		return err
	}
	return d.removeStream(f, path)
}

// removeStream takes the name away from a stream's file, whose lock the caller holds.
func (d *Driver) removeStream(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !hasName(info, path) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return translate("stream "+filepath.Base(path), err)
	}
	return nil
}

// Purge implements driver.Purger: it removes streams that nobody has written to since the given time.
func (d *Driver) Purge(ctx context.Context, _, before time.Time, dryRun bool) (int, error) {
	entries, err := os.ReadDir(d.path("streams"))
	if err != nil {
		return 0, err
	}
	count := 0
	var failures driver.Failures
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(before) {
			continue
		}
		if !dryRun {
			err = d.discard(ctx, d.path("streams", e.Name()), 0)
		}
		if err == nil {
			count++
		}
		if !failures.Note(ctx, err) {
			break
		}
	}
	return count, failures.Err()
}
