package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"packregistry.dev/pack"
)

// Pulled is what was pulled.
type Pulled struct {
	Name string `json:"name"`
	// Tag is the version's, where it was found by a tag: a parent tag's version, or the newest.
	Tag    string        `json:"tag,omitempty"`
	Digest digest.Digest `json:"digest"`
	// Path is where the pack, or its archive, lies now.
	Path string `json:"path"`
}

// Pull fetches a version by tag, parent tag or digest (the newest where there is none) and unpacks it below target, into a
// folder <name>-<version>. What comes is checked against its digest before it is unpacked, and the folder appears only when it
// is complete.
func (c *Client) Pull(ctx context.Context, name, reference, target string) (*Pulled, error) {
	return c.pull(ctx, name, reference, target, false)
}

// PullArchive is Pull that keeps the archive, <name>-<version>.tar.gz, and does not unpack it.
func (c *Client) PullArchive(ctx context.Context, name, reference, target string) (*Pulled, error) {
	return c.pull(ctx, name, reference, target, true)
}

func (c *Client) pull(ctx context.Context, name, reference, target string, asArchive bool) (*Pulled, error) {
	v, archive, err := c.fetchVersion(ctx, name, reference)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	place := unpack
	if asArchive {
		place = keepArchive
	}
	path, err := place(ctx, archive, target)
	if err != nil {
		return nil, err
	}
	return &Pulled{Name: name, Tag: v.tag, Digest: v.manifest.Digest, Path: path}, nil
}

// keepArchive writes an archive into target as it is, under its usual name.
func keepArchive(ctx context.Context, archive *os.File, target string) (path string, err error) {
	found, err := namedArchive(ctx, archive)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return "", err
	}
	partial, err := os.CreateTemp(target, ".pulling-")
	if err != nil {
		return "", err
	}
	defer os.Remove(partial.Name())
	_, err = io.Copy(partial, archive)
	if err := errors.Join(err, partial.Chmod(0o644), partial.Close()); err != nil {
		return "", err
	}
	final := filepath.Join(target, found.ArchiveName())
	if err := os.Link(partial.Name(), final); err != nil { // which, other than a rename, replaces nothing
		return "", fmt.Errorf("%w; remove it or choose another folder", err)
	}
	return final, nil
}

// fetchVersion finds a version and downloads its archive.
func (c *Client) fetchVersion(ctx context.Context, name, reference string) (*version, *os.File, error) {
	repo, v, err := c.find(ctx, name, reference)
	if err != nil {
		return nil, nil, err
	}
	archive, err := c.fetch(ctx, repo, v.layer)
	return v, archive, err
}

// fetch downloads a blob to a temporary file and verifies it.
func (c *Client) fetch(ctx context.Context, repo *remote.Repository, d ocispec.Descriptor) (*os.File, error) {
	r, err := repo.Blobs().Fetch(ctx, d)
	if err != nil {
		return nil, c.explain(err)
	}
	defer r.Close()
	f, err := os.CreateTemp("", "pack-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	to, done := c.reportDownload(f, repo, d.Size)
	defer done()
	if err = download(ctx, to, d, r); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("download %s: %w", d.Digest, err)
	}
	return f, nil
}

// reportDownload reports what is written to a file while it comes.
func (c *Client) reportDownload(to io.Writer, repo *remote.Repository, total int64) (io.Writer, func()) {
	if c.server.OnDownload == nil {
		return to, func() {}
	}
	came, done := c.server.OnDownload(strings.TrimPrefix(repo.Reference.Repository, c.prefix()))
	return &reportingWriter{Writer: to, total: total, came: came}, done
}

// reportingWriter counts what is written.
type reportingWriter struct {
	io.Writer
	written, total int64
	came           func(came, total int64)
}

func (w *reportingWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.written += int64(n)
	w.came(w.written, w.total)
	return n, err
}

// namedArchive reads what pack an archive is of, and goes back to its beginning.
func namedArchive(ctx context.Context, archive *os.File) (*pack.Archive, error) {
	found, err := pack.ReadArchive(ctx, archive)
	if found == nil {
		return nil, err
	}
	// What is wrong with the content of a pack that the registry accepted must not keep it from being read, as long as
	// its folder has a name.
	if found.Name == "" || found.Version == "" || filepath.Base(found.Folder()) != found.Folder() {
		return nil, errors.Join(errors.New("the archive names no pack"), err)
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return found, nil
}

// unpack checks an archive and unpacks it below target. The files go into a folder of another name first, which is
// renamed when it is complete.
func unpack(ctx context.Context, archive *os.File, target string) (string, error) {
	found, err := namedArchive(ctx, archive)
	if err != nil {
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
