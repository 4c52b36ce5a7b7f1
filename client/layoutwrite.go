package client

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutWriter writes an image layout. Nothing is at its place before commit.
type layoutWriter struct {
	save   Save
	folder bool
	// temporary is the folder beside the target in which all is made.
	temporary string
	// parts splits the tar archive; both are nil for a folder.
	parts   *partWriter
	archive *tar.Writer
}

const layoutVersion = `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`

func newLayoutWriter(s Save) (*layoutWriter, error) {
	w := &layoutWriter{save: s, folder: strings.HasSuffix(s.Path, "/")}
	if w.folder {
		if s.PartSize > 0 {
			return nil, errors.New("a folder has no parts; name a file")
		}
		w.save.Path = filepath.Clean(s.Path)
	}
	if err := w.checkTarget(); err != nil {
		return nil, err
	}
	parent := filepath.Dir(w.save.Path)
	temporary, err := os.MkdirTemp(parent, ".saving-")
	if err != nil {
		return nil, err
	}
	w.temporary = temporary
	if !w.folder {
		w.parts = &partWriter{dir: temporary, size: s.PartSize}
		w.archive = tar.NewWriter(w.parts)
	}
	return w, nil
}

// checkTarget refuses to mix the new parts with others, and to replace a folder.
func (w *layoutWriter) checkTarget() error {
	info, err := os.Stat(w.save.Path)
	switch {
	case err == nil && (info.IsDir() || w.folder):
		return fmt.Errorf("%s exists already; remove it or choose another name", w.save.Path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case w.save.PartSize == 0:
		return nil
	}
	if _, err := os.Stat(partName(w.save.Path, 0)); err == nil {
		return fmt.Errorf("%s exists already; remove it and the parts after it, or choose another name", partName(w.save.Path, 0))
	}
	return nil
}

// begin writes what every layout has.
func (w *layoutWriter) begin(index ocispec.Index) error {
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	for _, file := range []struct{ name, text string }{{ocispec.ImageLayoutFile, layoutVersion}, {ocispec.ImageIndexFile, string(text)}} {
		err := w.add(file.name, int64(len(file.text)), func(to io.Writer) error {
			_, err := io.WriteString(to, file.text)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// add writes a file of a size that is known.
func (w *layoutWriter) add(name string, size int64, write func(io.Writer) error) error {
	if w.archive != nil {
		if err := w.archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		return write(w.archive)
	}
	path := filepath.Join(w.temporary, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Sync(), f.Close())
}

// commit puts what was written at its place, and returns how many parts it has; 0 for one file or a folder.
func (w *layoutWriter) commit() (parts int, err error) {
	if w.folder {
		if err := os.Chmod(w.temporary, 0o755); err != nil {
			return 0, err
		}
		return 0, os.Rename(w.temporary, w.save.Path)
	}
	if err := errors.Join(w.archive.Close(), w.parts.end()); err != nil {
		return 0, err
	}
	if w.save.PartSize == 0 {
		return 0, os.Rename(partName(filepath.Join(w.temporary, "part"), 0), w.save.Path)
	}
	// The first part comes last: without it nobody takes the others for an archive.
	for i := w.parts.count - 1; i >= 0; i-- {
		if err := os.Rename(partName(filepath.Join(w.temporary, "part"), i), partName(w.save.Path, i)); err != nil {
			return 0, err
		}
	}
	return w.parts.count, nil
}

// abort takes away what was not committed.
func (w *layoutWriter) abort() {
	if w.parts != nil {
		w.parts.end() //nolint:errcheck // it is thrown away
	}
	os.RemoveAll(w.temporary)
}

// maxParts is how many parts three digits can name.
const maxParts = 1000

func partName(path string, i int) string { return fmt.Sprintf("%s.%03d", path, i) }

// partWriter writes files of a size, one after the other; one file where that is 0.
type partWriter struct {
	dir     string
	size    int64
	count   int
	current *os.File
	written int64
}

// Write implements io.Writer.
func (p *partWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if p.current == nil || p.size > 0 && p.written == p.size {
			if err := p.next(); err != nil {
				return n, err
			}
		}
		piece := b
		if p.size > 0 {
			piece = b[:min(int64(len(b)), p.size-p.written)]
		}
		m, err := p.current.Write(piece)
		n, p.written, b = n+m, p.written+int64(m), b[m:]
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (p *partWriter) next() error {
	if err := p.end(); err != nil {
		return err
	}
	if p.count == maxParts {
		return fmt.Errorf("more than %d parts; choose a larger --part-size", maxParts)
	}
	f, err := os.OpenFile(partName(filepath.Join(p.dir, "part"), p.count), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	p.current, p.written = f, 0
	p.count++
	return err
}

// end closes the last file.
func (p *partWriter) end() error {
	if p.current == nil {
		return nil
	}
	err := errors.Join(p.current.Sync(), p.current.Close())
	p.current = nil
	return err
}
