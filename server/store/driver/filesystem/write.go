package filesystem

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"

	"packregistry.dev/server/store/driver"
)

// This file is how objects are created, replaced and removed.

// Create implements driver.Driver.
func (d *Driver) Create(ctx context.Context, key string, data []byte, durability driver.Durability) error {
	return d.withReserve(ctx, func() error { return d.create(key, data, durability) })
}

func (d *Driver) create(key string, data []byte, durability driver.Durability) error {
	path, err := d.object(key)
	if err != nil {
		return err
	}
	tmp, err := d.writeTemp(data, durability)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	return d.place(os.Link, tmp, path, key, durability)
}

// writeTemp writes data to a file in tmp and returns its path.
func (d *Driver) writeTemp(data []byte, durability driver.Durability) (_ string, err error) {
	f, err := d.createTemp("object-")
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return "", err
	}
	if durability == driver.Durable {
		if err := d.sync(f); err != nil {
			return "", err
		}
	}
	return f.Name(), nil
}

// placeTries bounds how often place makes a directory that a deletion takes away again.
const placeTries = 10

// place gives the file at from its place with give, which is link or move, unless that place is taken.
func (d *Driver) place(give func(from, to string) error, from, path, key string, durability driver.Durability) error {
	err := give(from, path)
	for tries := 0; errors.Is(err, fs.ErrNotExist) && tries < placeTries; tries++ {
		if err := d.makeDirs(filepath.Dir(path), durability); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return translate(key, err)
		}
		err = give(from, path)
	}
	if err != nil {
		if errors.Is(err, fs.ErrExist) && durability == driver.Durable {
			// Whoever created it may not have synced yet, and our caller will take it for safe.
			if syncErr := d.syncDir(filepath.Dir(path)); syncErr != nil {
				return syncErr
			}
		}
		return translate(key, err)
	}
	if durability == driver.Durable {
		return d.syncDir(filepath.Dir(path))
	}
	return nil
}

// makeDirs is os.MkdirAll that syncs the parent of each directory it makes for a durable object.
func (d *Driver) makeDirs(dir string, durability driver.Durability) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.makeDirs(filepath.Dir(dir), durability); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) || err == nil && durability == driver.Relaxed {
		return nil
	}
	if err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(dir))
}

func (d *Driver) syncDir(dir string) error {
	f, err := d.openFile(dir, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.sync(f)
}

// Replace implements driver.Driver.
func (d *Driver) Replace(ctx context.Context, key string, data []byte, old driver.Version) error {
	if old == "" {
		err := d.Create(ctx, key, data, driver.Durable)
		if errors.Is(err, driver.ErrExist) {
			return fmt.Errorf("%s: %w", key, driver.ErrChanged)
		}
		return err
	}
	return d.withReserve(ctx, func() error { return d.replace(ctx, key, data, old) })
}

// replace is Replace of an object that is there.
func (d *Driver) replace(ctx context.Context, key string, data []byte, old driver.Version) error {
	path, err := d.object(key)
	if err != nil {
		return err
	}
	tmp, err := d.writeTemp(data, driver.Durable)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	unlock, err := d.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	current, err := d.readWhole(path)
	if err != nil {
		return translate(key, err)
	}
	if version(current) != old {
		return fmt.Errorf("%s: %w", key, driver.ErrChanged)
	}
	d.cache.forget(key) // an open file would keep its room, and on NFS a name of its own
	err = os.Rename(tmp, path)
	d.cache.forget(key) // somebody may have read it in between
	if err != nil {
		return translate(key, err)
	}
	return d.syncDir(filepath.Dir(path))
}

// lockShards is how many locks share the objects among them.
const lockShards = 64

// lock takes the lock that guards replacing and deleting the object of that key.
func (d *Driver) lock(ctx context.Context, key string) (unlock func(), err error) {
	h := fnv.New32a()
	h.Write([]byte(key)) //nolint:errcheck // never fails
	f, err := d.openFile(d.path("locks", fmt.Sprint(h.Sum32()%lockShards)), os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil // closing lets go of the lock
}

// Delete implements driver.Driver. It takes the lock too: a replacement that has compared must not bring back what was
// deleted before it renames.
func (d *Driver) Delete(ctx context.Context, key string) error {
	return d.remove(ctx, key, func(string) error { return nil })
}

// DeleteUnchanged implements driver.Driver.
func (d *Driver) DeleteUnchanged(ctx context.Context, key string, old driver.Version) error {
	return d.remove(ctx, key, func(path string) error {
		current, err := d.readWhole(path)
		if err == nil && version(current) != old {
			err = fmt.Errorf("%s: %w", key, driver.ErrChanged)
		}
		return err
	})
}

// remove removes an object unless check, which is called with the lock held, returns an error.
func (d *Driver) remove(ctx context.Context, key string, check func(path string) error) error {
	err := d.withReserve(ctx, func() error { return d.removeFile(ctx, key, check) })
	if err == nil && d.reserve.short.Load() {
		d.fillReserve(ctx) //nolint:errcheck // the object is removed; health checks try it again, and report it
	}
	return err
}

func (d *Driver) removeFile(ctx context.Context, key string, check func(path string) error) error {
	path, err := d.object(key)
	if err != nil {
		return err
	}
	unlock, err := d.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if err = check(path); err == nil {
		d.cache.forget(key) // before, or NFS would rename the file for as long as it is open
		err = os.Remove(path)
		d.cache.forget(key) // somebody may have read it in between
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), isNotDir(err):
		return nil
	case err != nil:
		return translate(key, err)
	}
	dir := filepath.Dir(path)
	if driver.DeleteDurability(ctx) == driver.Durable {
		if err := d.syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	d.prune(dir)
	return nil
}

// prune removes directories that a deletion left empty: each upload had one of its own.
func (d *Driver) prune(dir string) {
	for root := d.path("objects"); dir != root && os.Remove(dir) == nil; {
		dir = filepath.Dir(dir)
	}
}
