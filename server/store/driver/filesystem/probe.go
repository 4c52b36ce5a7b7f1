package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"packregistry.dev/server/store/driver"
)

var _ driver.Prober = (*Driver)(nil)

// probePrefix begins the names of files that are only tried. Keys never have a component that begins so.
const probePrefix = ".probe-"

// probeAll finds out at the start, with a clear message, what would otherwise fail every push: also where a part of
// what objects there are lies on another file system.
func (d *Driver) probeAll() error {
	dirs := []string{d.path("objects")}
	entries, err := os.ReadDir(dirs[0])
	if err != nil {
		return d.unusable(err)
	}
	for _, e := range entries {
		if e.IsDir() && len(e.Name()) == 1 { // one that keys begin with, not lost+found
			dirs = append(dirs, filepath.Join(dirs[0], e.Name()))
		}
	}
	for i, dir := range dirs {
		err := d.probe(dir)
		if err != nil && (i == 0 || !errors.Is(err, fs.ErrNotExist)) { // another process removes folders that are empty
			return err
		}
	}
	return nil
}

// Probe implements driver.Prober.
func (d *Driver) Probe(ctx context.Context) error {
	if err := d.probe(d.path("objects")); err != nil {
		return err
	}
	if err := d.fillReserve(ctx); err != nil {
		return d.unusable(err)
	}
	return nil
}

// probe does what pushes do, without anything that a full volume lacks: it links a file from tmp to a folder of objects, and
// moves one there from streams.
func (d *Driver) probe(dir string) error {
	f, err := d.createTemp(probePrefix)
	if err != nil {
		return d.unusable(err)
	}
	f.Close()                 //nolint:errcheck // nothing was written to it
	defer os.Remove(f.Name()) //nolint:errcheck // swept later
	name := filepath.Base(f.Name())
	linked := filepath.Join(dir, name+"-link")
	if err := os.Link(f.Name(), linked); err != nil {
		return d.unusable(err)
	}
	if err := os.Remove(linked); err != nil {
		return d.unusable(err)
	}
	streamed, moved := d.path("streams", name), filepath.Join(dir, name+"-moved")
	if f, err = d.openFile(streamed, os.O_RDWR|os.O_CREATE); err != nil {
		return d.unusable(err)
	}
	f.Close() //nolint:errcheck // as above
	if err := d.move(streamed, moved); err != nil {
		os.Remove(streamed) //nolint:errcheck // swept later
		return d.unusable(err)
	}
	if err := os.Remove(moved); err != nil {
		return d.unusable(err)
	}
	return nil
}

// unusable says what an error means for a push. That a volume is full is no reason not to serve what it holds.
func (d *Driver) unusable(err error) error {
	var linking *os.LinkError
	isLink := errors.As(err, &linking)
	switch {
	case isFull(err):
		return nil
	case errors.Is(err, syscall.EXDEV) && isLink:
		return fmt.Errorf("storage directory %s: %s and %s are on different file systems (%w); mount all of the directory from one, not parts of it",
			d.root, filepath.Dir(linking.Old), filepath.Dir(linking.New), err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("storage directory %s: %w; allow the process more open files (ulimit -n, LimitNOFILE)", d.root, err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EPERM) && !isLink:
		return fmt.Errorf("storage directory %s: %w; it must be writable for user %d", d.root, err, os.Getuid())
	case isLink && linking.Op == "link" && (errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported)):
		return fmt.Errorf("storage directory %s: the file system has no hard links (%w); use one that has", d.root, err)
	}
	return fmt.Errorf("storage directory %s: %w", d.root, err)
}
