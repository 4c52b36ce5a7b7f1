package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"packregistry.dev/pack"
)

// unpack checks an archive and unpacks it below target. The files go into a folder of another name first, which is
// renamed when it is complete.
func unpack(ctx context.Context, archive *os.File, target string) (string, error) {
	found, err := pack.ReadArchive(ctx, archive)
	if found == nil {
		return "", err
	}
	// What is wrong with the content of a pack that the registry accepted must not keep it from being read, as long as
	// its folder has a name.
	if found.Name == "" || found.Version == "" || filepath.Base(found.Folder()) != found.Folder() {
		return "", errors.Join(errors.New("the archive names no pack"), err)
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return "", err
	}
	final := filepath.Join(target, found.Folder())
	if _, err := os.Lstat(final); err == nil {
		return "", fmt.Errorf("%s exists already; remove it or choose another folder", final)
	}
	partial, err := os.MkdirTemp(target, ".pulling-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(partial) // gone already if all went well
	if err := writeFiles(ctx, archive, partial); err != nil {
		return "", err
	}
	if err := os.Chmod(partial, 0o755); err != nil {
		return "", err
	}
	return final, os.Rename(partial, final)
}

func writeFiles(ctx context.Context, archive io.Reader, dir string) error {
	// A root refuses every path that would lead out of it, links included.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // a folder that was only written into
	return pack.UnpackTo(ctx, archive, func(name string, content io.Reader) error {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	})
}
