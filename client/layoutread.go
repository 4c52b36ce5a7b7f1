package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout is an OCI image layout, a folder or a tar archive of one or more parts, that somebody else may have made.
type layout struct {
	files interface {
		// open opens a file by its path in the layout. The error of one that is not there is fs.ErrNotExist.
		open(name string) (io.ReadCloser, int64, error)
		Close() error
	}
	entries []entry
	// referrers are the manifests of the index by what they refer to.
	referrers map[digest.Digest][]ocispec.Descriptor
	// referring are those manifests themselves.
	referring map[digest.Digest]bool
}

// openLayout opens a folder, a file, or the parts FILE.000, FILE.001, … and reads its index.
func openLayout(ctx context.Context, file string) (_ *layout, err error) {
	l := &layout{referrers: map[digest.Digest][]ocispec.Descriptor{}, referring: map[digest.Digest]bool{}}
	if info, statErr := os.Stat(file); statErr == nil && info.IsDir() {
		root, err := os.OpenRoot(file) // which no link leads out of
		if err != nil {
			return nil, err
		}
		l.files = folderFiles{root}
	} else if l.files, err = openTar(ctx, file); err != nil {
		return nil, err
	}
	if err := l.readIndex(); err != nil {
		l.files.Close() //nolint:errcheck // it was only opened
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return l, nil
}

func (l *layout) readIndex() error {
	if _, err := l.read(ocispec.ImageLayoutFile, 1<<10); err != nil {
		return fmt.Errorf("not an OCI image layout: %w", err)
	}
	text, err := l.read(ocispec.ImageIndexFile, maxLayoutIndex)
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return refused("index.json: %v", err)
	}
	if len(index.Manifests) > maxContent {
		return refused("index.json lists %d manifests; %d are the most", len(index.Manifests), maxContent)
	}
	l.entries, err = entriesOf(index)
	return err
}

func (l *layout) read(name string, most int64) ([]byte, error) {
	f, size, err := l.files.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refused("it holds no %s", name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	if size > most {
		return nil, refused("%s has %d bytes; %d are the most", name, size, most)
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// Fetch implements content.Fetcher.
func (l *layout) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	f, size, err := l.files.open(blobPath(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refused("it lacks %s", d.Digest)
	}
	if err != nil {
		return nil, err
	}
	if size != d.Size {
		f.Close() //nolint:errcheck // it was only opened
		return nil, refused("%s has %d bytes, not %d", d.Digest, size, d.Size)
	}
	return f, nil
}

// Exists implements content.ReadOnlyStorage.
func (l *layout) Exists(_ context.Context, d ocispec.Descriptor) (bool, error) {
	f, _, err := l.files.open(blobPath(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// Predecessors implements content.PredecessorFinder.
func (l *layout) Predecessors(_ context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return l.referrers[d.Digest], nil
}

// verify compares all content with its digests, and returns what the layout lacks, by pack.
func (l *layout) verify(ctx context.Context) (lacking map[string][]ocispec.Descriptor, graphs map[string]*graph, err error) {
	lacking, graphs = map[string][]ocispec.Descriptor{}, map[string]*graph{}
	verified := map[digest.Digest]bool{}
	subjects := map[digest.Digest]bool{}
	for _, e := range l.entries {
		g := graphs[e.name]
		if g == nil {
			g = newGraph(l)
			graphs[e.name] = g
		}
		err := g.add(ctx, e.descriptor, func(d ocispec.Descriptor) error {
			if there, err := l.Exists(ctx, d); err != nil {
				return err
			} else if !there && !isManifest(d) {
				lacking[e.name] = append(lacking[e.name], plain(d))
				return nil
			}
			if verified[d.Digest] {
				return nil
			}
			verified[d.Digest] = true
			return l.verifyContent(ctx, d)
		})
		if err != nil {
			return nil, nil, err
		}
		if err := l.noteSubject(ctx, e.descriptor, subjects); err != nil {
			return nil, nil, err
		}
	}
	return lacking, graphs, nil
}

// noteSubject remembers what a manifest refers to.
func (l *layout) noteSubject(ctx context.Context, d ocispec.Descriptor, seen map[digest.Digest]bool) error {
	if seen[d.Digest] {
		return nil
	}
	seen[d.Digest] = true
	f, err := l.Fetch(ctx, d)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var m struct {
		Subject *ocispec.Descriptor `json:"subject"`
	}
	if err := json.NewDecoder(io.LimitReader(f, d.Size)).Decode(&m); err != nil {
		return refused("%s: %v", d.Digest, err)
	}
	if m.Subject != nil {
		l.referrers[m.Subject.Digest] = append(l.referrers[m.Subject.Digest], d)
		l.referring[d.Digest] = true
	}
	return nil
}

func (l *layout) verifyContent(ctx context.Context, d ocispec.Descriptor) error {
	f, err := l.Fetch(ctx, d)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	v := d.Digest.Verifier()
	if _, err := io.Copy(v, contextReader{ctx, f}); err != nil {
		return err
	}
	if !v.Verified() {
		return refused("%s: its content has another digest: the file is damaged", d.Digest)
	}
	return nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it lives as long as one copy
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

type folderFiles struct{ *os.Root }

func (f folderFiles) open(name string) (io.ReadCloser, int64, error) {
	// Asked before it is opened: to open a pipe waits for whoever writes into it.
	info, err := f.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, refused("%s is no file", name)
	}
	file, err := f.Open(name)
	return file, info.Size(), err
}
