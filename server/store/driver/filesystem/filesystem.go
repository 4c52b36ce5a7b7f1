// Package filesystem is a driver that keeps each object in a file of its own below one directory, which several
// processes may share.
//
//	objects/<key>   the objects; a key's components are directories
//	streams/<id>    uploads in the making; committing one moves its file to its key, no byte is copied
//	tmp/            objects being written; what is left here was never acknowledged
//	reserve         room that is kept back for what makes room
//	locks/          files that hold nothing; a lock on one guards the replacing of some of the objects
//
// The primitives are those that stay atomic on a shared volume too: link(2) creates where there is nothing, rename(2)
// replaces, and an advisory lock, which dies with its process, stands around compare and rename. A write is
// acknowledged when file and directory have been synced.
//
// An object is never a file that can still be written to: a stream loses its name in the same step that gives it its key
// or, where the file system has no such step, in the next one, and a stream's file that has a second name is only copied.
package filesystem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"packregistry.dev/server/store/driver"
)

// Driver is a store below one directory.
type Driver struct {
	root  string
	cache *cache
	// move gives a file another name, unless that is taken.
	move func(from, to string) error
	// sync makes a file, or the names in a directory, outlast a loss of power.
	sync func(f *os.File) error
	// reserve is room that is kept back.
	reserve reserve
}

var _ driver.Driver = (*Driver)(nil)

// staleAfter is the age at which a file in tmp cannot belong to a write that still goes on.
const staleAfter = 24 * time.Hour

// New opens the store below root, making the directory where there is none, and tries whether it can be written to.
func New(root string) (*Driver, error) {
	d := &Driver{root: root, cache: newCache(), move: moveNew, sync: (*os.File).Sync}
	for _, dir := range []string{"objects", "streams", "tmp", "locks"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			return nil, fmt.Errorf("storage directory %s: %w; it must be writable for user %d", root, err, os.Getuid())
		}
	}
	if err := d.probeAll(); err != nil {
		return nil, err
	}
	d.sweep()
	if err := d.fillReserve(context.Background()); err != nil {
		return nil, d.unusable(err)
	}
	return d, nil
}

// NewReadOnly opens a store that is there already, and never writes to it: the volume may be mounted read-only.
func NewReadOnly(root string) (*Driver, error) {
	d := &Driver{root: root, cache: newCache(), move: moveNew, sync: (*os.File).Sync}
	if _, err := os.Stat(d.path("objects")); err != nil {
		return nil, fmt.Errorf("storage directory %s holds no store: %w", root, err)
	}
	return d, nil
}

// Foreign implements driver.Foreigner.
func (d *Driver) Foreign(context.Context) (bool, error) {
	_, err := os.Stat(d.path("docker", "registry", "v2"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// sweep removes what writes of the past left behind when their process died.
func (d *Driver) sweep() {
	for _, pattern := range []string{"tmp/*", "streams/" + probePrefix + "*", "objects/" + probePrefix + "*", "objects/*/" + probePrefix + "*"} {
		paths, _ := filepath.Glob(d.path(pattern)) //nolint:errcheck // the patterns are valid
		for _, path := range paths {
			if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > staleAfter {
				os.Remove(path) //nolint:errcheck // tried again at the next start
			}
		}
	}
}

func (d *Driver) path(parts ...string) string {
	return filepath.Join(append([]string{d.root}, parts...)...)
}

func (d *Driver) object(key string) (string, error) {
	if err := driver.CheckKey(key); err != nil {
		return "", err
	}
	return d.root + "/objects/" + key, nil
}

// translate maps the system's errors to the driver's.
func translate(key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), isNotDir(err):
		return fmt.Errorf("%s: %w", key, driver.ErrNotExist)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s: %w", key, driver.ErrExist)
	}
	return fmt.Errorf("%s: %w", key, err)
}

// Stat implements driver.Driver.
func (d *Driver) Stat(_ context.Context, key string) (driver.Info, error) {
	path, err := d.object(key)
	if err != nil {
		return driver.Info{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return driver.Info{}, translate(key, err)
	}
	if info.IsDir() {
		return driver.Info{}, fmt.Errorf("%s: %w", key, driver.ErrNotExist)
	}
	return driver.Info{Size: info.Size(), ModTime: info.ModTime()}, nil
}

// Object is an open file. It stays an *os.File underneath, so that the kernel can send it to a socket by itself.
type Object struct {
	*os.File
	info driver.Info
}

// OSFile is the file itself.
func (o *Object) OSFile() *os.File { return o.File }

// Info implements driver.Object.
func (o *Object) Info() driver.Info { return o.info }

// Open implements driver.Driver.
func (d *Driver) Open(_ context.Context, key string) (driver.Object, error) {
	path, err := d.object(key)
	if err != nil {
		return nil, err
	}
	f, err := d.openFile(path, os.O_RDONLY)
	if err != nil {
		return nil, translate(key, err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, translate(key, err)
	}
	return &Object{f, driver.Info{Size: info.Size(), ModTime: info.ModTime()}}, nil
}

// Read implements driver.Driver.
func (d *Driver) Read(_ context.Context, key string) ([]byte, driver.Version, error) {
	if known := d.cache.get(key); known != nil {
		return known.data, known.version, nil
	}
	path, err := d.object(key)
	if err != nil {
		return nil, "", err
	}
	return d.readFile(path, key)
}

// largeReads has a place for each object that is more than largeRead bytes and is read as a whole, so that however many ask for such at
// once take little memory.
const largeRead = 64 << 10

var largeReads = make(chan struct{}, 4)

// readAll reads a file, into memory that is as large as it is.
func readAll(f *os.File) ([]byte, error) {
	first, err := io.ReadAll(io.LimitReader(f, largeRead))
	if err != nil || len(first) < largeRead {
		return first, err
	}
	largeReads <- struct{}{}
	defer func() { <-largeReads }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := bytes.NewBuffer(make([]byte, 0, max(info.Size(), largeRead)+bytes.MinRead))
	data.Write(first)
	_, err = data.ReadFrom(f)
	return data.Bytes(), err
}

// readFile reads an object and remembers it.
func (d *Driver) readFile(path, key string) ([]byte, driver.Version, error) {
	f, err := d.openFile(path, os.O_RDONLY)
	if err != nil {
		return nil, "", translate(key, err)
	}
	data, err := readAll(f)
	data = slices.Clip(data) // who appends to it gets a slice of its own
	if err != nil {
		f.Close()
		if isDir(err) {
			err = fs.ErrNotExist
		}
		return nil, "", translate(key, err)
	}
	v := version(data)
	if !d.cache.put(key, path, f, data, v) {
		f.Close()
	}
	return data, v, nil
}

func version(data []byte) driver.Version {
	sum := sha256.Sum256(data)
	return driver.Version(sum[:])
}

// List implements driver.Driver. Reading a directory costs what the directory holds, but only the page is kept.
func (d *Driver) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := driver.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	dir, err := d.openFile(d.path("objects", filepath.FromSlash(prefix)), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) || isNotDir(err) {
		return nil, nil
	}
	if err != nil {
		return nil, translate(prefix, err)
	}
	defer dir.Close()
	page := newPage(limit)
	for {
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			name := e.Name()
			if e.IsDir() {
				name += "/"
			}
			if name > after {
				page.add(name)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) { // or the last name went, and the directory with it
			return page.names(), nil
		}
		if err != nil {
			return nil, translate(prefix, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}
