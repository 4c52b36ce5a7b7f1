package client

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// tarFiles are the files of a tar archive, read where they lie.
type tarFiles struct {
	*parts
	places map[string]*io.SectionReader
}

func openTar(ctx context.Context, file string) (*tarFiles, error) {
	p, err := openParts(file)
	if err != nil {
		return nil, err
	}
	t := &tarFiles{p, map[string]*io.SectionReader{}}
	if err := t.index(ctx); err != nil {
		p.Close() //nolint:errcheck // it was only opened
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

// index finds the files. Names that lead out of the archive would do no harm, since nothing is unpacked, but show that it is hostile.
func (t *tarFiles) index(ctx context.Context) error {
	raw := io.NewSectionReader(t.parts, 0, t.size)
	archive := tar.NewReader(raw)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && len(t.places) > 0:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return refused("it is cut off: a part is missing, or its copy did not end")
		case err != nil:
			return refused("not a tar archive: %v", err)
		}
		name := path.Clean(h.Name)
		if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
			return refused("%.200q leads out of the archive", h.Name)
		}
		if h.Typeflag != tar.TypeReg {
			continue // folders, and what other programs put beside a layout
		}
		at, err := raw.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if h.Size < 0 || h.Size > t.size-at {
			return refused("it is cut off in %.200q: a part is missing, or its copy did not end", h.Name)
		}
		if t.places[name] != nil {
			return refused("%.200q is there twice", h.Name)
		}
		if len(t.places) > maxContent {
			return refused("it holds more than %d files", maxContent)
		}
		t.places[name] = io.NewSectionReader(t.parts, at, h.Size)
	}
}

func (t *tarFiles) open(name string) (io.ReadCloser, int64, error) {
	place := t.places[name]
	if place == nil {
		return nil, 0, fs.ErrNotExist
	}
	return io.NopCloser(io.NewSectionReader(place, 0, place.Size())), place.Size(), nil
}

// parts reads several files as one.
type parts struct {
	files []*os.File
	// ends are where each file ends in the whole.
	ends []int64
	size int64
}

// openParts opens FILE, or FILE.000, FILE.001, … where that is not there or the first of them is named.
func openParts(file string) (*parts, error) {
	p := &parts{}
	whole := strings.TrimSuffix(file, ".000")
	_, err := os.Stat(file)
	if whole == file && !errors.Is(err, fs.ErrNotExist) {
		return p, p.add(file)
	}
	for i := range maxParts {
		err := p.add(partName(whole, i))
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			break
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &fs.PathError{Op: "open", Path: file, Err: fs.ErrNotExist}
		}
		if err != nil {
			p.Close() //nolint:errcheck // it was only opened
			return nil, err
		}
	}
	return p, nil
}

func (p *parts) add(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: neither a file nor a folder", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	p.files = append(p.files, f)
	p.size += info.Size()
	p.ends = append(p.ends, p.size)
	return nil
}

// ReadAt implements io.ReaderAt.
func (p *parts) ReadAt(b []byte, at int64) (n int, err error) {
	begin := int64(0)
	for i, end := range p.ends {
		if at < end && n < len(b) {
			piece := b[n:min(int64(len(b)), int64(n)+end-at)]
			m, err := p.files[i].ReadAt(piece, at-begin)
			n, at = n+m, at+int64(m)
			if m < len(piece) {
				return n, errors.Join(io.ErrUnexpectedEOF, err)
			}
		}
		begin = end
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Close closes all files.
func (p *parts) Close() error {
	var err error
	for _, f := range p.files {
		err = errors.Join(err, f.Close())
	}
	return err
}
