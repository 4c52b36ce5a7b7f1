package pack

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Bounds on what an archive may unpack to. The largest public pack is some 5 MB.
const (
	MaxFiles = 10_000
	MaxSize  = 1 << 30
	// maxRatio is how much larger than its compressed bytes an archive may be, beyond the first ratioFrom bytes.
	maxRatio  = 200
	ratioFrom = 16 << 20
	// maxBrowsable bounds the files that are kept as blobs of their own.
	maxBrowsable = 4 << 20
)

// Archive is what was found in a pack's archive.
type Archive struct {
	Metadata
	// Browsable holds the contents of the files that IsBrowsable names.
	Browsable map[string][]byte
}

// ReadArchive reads a pack's archive, compressed or not, without keeping more of it than its browsable files. What is
// wrong with the pack comes as an *Error; any other error is one of reading.
func ReadArchive(r io.Reader) (*Archive, error) {
	reader := &archiveReader{files: map[string]bool{}, found: &Archive{Browsable: map[string][]byte{}}}
	if err := reader.read(r); err != nil {
		return nil, err
	}
	return reader.found, reader.finish()
}

// ErrStop ends Walk early, without an error.
var ErrStop = errors.New("stop")

// Walk hands each file of an archive to visit, in the archive's order, by its path below the top folder and with its size
// in bytes. The archive's bounds hold here too.
func Walk(r io.Reader, visit func(name string, size int64, content io.Reader) error) error {
	reader := &archiveReader{files: map[string]bool{}, found: &Archive{Browsable: map[string][]byte{}}, visit: visit}
	err := reader.read(r)
	if errors.Is(err, ErrStop) {
		return nil
	}
	if err != nil {
		return err
	}
	return asError(reader.violations)
}

// UnpackTo is Walk for those who want no sizes.
func UnpackTo(r io.Reader, write func(name string, content io.Reader) error) error {
	return Walk(r, func(name string, _ int64, content io.Reader) error { return write(name, content) })
}

type archiveReader struct {
	found      *Archive
	files      map[string]bool
	top        string
	violations []Violation
	visit      func(name string, size int64, content io.Reader) error
}

func (a *archiveReader) violate(path, format string, args ...any) {
	a.violations = append(a.violations, Violation{path, fmt.Sprintf(format, args...)})
}

// errStop ends the reading of an archive that cannot become a pack any more.
var errStop = errors.New("stop")

func (a *archiveReader) read(r io.Reader) error {
	raw := &countingReader{r: r}
	buffered := bufio.NewReader(raw)
	var content io.Reader = buffered
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		decompressor, err := gzip.NewReader(buffered)
		if err != nil {
			return asError([]Violation{{"", "not a gzip archive: " + err.Error()}})
		}
		defer decompressor.Close() //nolint:errcheck // it was only read
		content = decompressor
	}
	content = &boundedReader{r: content, raw: raw}
	archive := tar.NewReader(content)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return raw.err
		}
		if err == nil {
			err = a.entry(header, archive)
		}
		switch {
		case errors.Is(err, errStop):
			return asError(a.violations)
		case raw.err != nil:
			return raw.err
		case errors.Is(err, errBomb):
			return asError(append(a.violations, Violation{"", err.Error()}))
		case isWriteError(err):
			return err
		case err != nil:
			return asError(append(a.violations, Violation{"", "not a tar archive: " + err.Error()}))
		}
	}
}

// writeError is an error of the caller's visit function.
type writeError struct{ error }

func isWriteError(err error) bool {
	var w writeError
	return errors.As(err, &w)
}

func (w writeError) Unwrap() error { return w.error }

func (a *archiveReader) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name := path.Clean(strings.TrimPrefix(h.Name, "./"))
	if path.IsAbs(h.Name) || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(h.Name, "\\\x00") {
		a.violate(h.Name, "leads out of the pack")
		return errStop
	}
	if name == "." {
		return nil
	}
	top, rest, nested := strings.Cut(name, "/")
	if a.top == "" {
		a.top = top
	}
	switch {
	case top != a.top:
		a.violate(h.Name, "the archive must hold one top folder; there is %q too", a.top)
		return errStop
	case h.Typeflag == tar.TypeDir:
		if nested {
			a.files[rest] = true
		}
		return nil
	case h.Typeflag != tar.TypeReg:
		a.violate(h.Name, "neither a file nor a directory; links and devices are refused")
		return errStop
	case !nested:
		a.violate(h.Name, "the archive must hold one top folder with the pack's files in it")
		return errStop
	}
	if len(a.files) >= MaxFiles {
		a.violate("", "more than %d files", MaxFiles)
		return errStop
	}
	if a.files[rest] {
		a.violate(rest, "twice in the archive")
	}
	a.files[rest] = true
	for dir := path.Dir(rest); dir != "." && !a.files[dir]; dir = path.Dir(dir) {
		a.files[dir] = true
	}
	return a.file(rest, h.Size, content)
}

func (a *archiveReader) file(name string, size int64, content io.Reader) error {
	if a.visit != nil {
		if err := a.visit(name, size, content); err != nil {
			return writeError{err}
		}
		return nil
	}
	if !IsBrowsable(name) {
		_, err := io.Copy(io.Discard, content)
		return err
	}
	limit := int64(maxBrowsable)
	if name == MetadataFile {
		limit = maxMetadata
	}
	data, err := io.ReadAll(io.LimitReader(content, limit+1))
	if err != nil {
		return err
	}
	if int64(len(data)) > limit {
		a.violate(name, "larger than %d bytes", limit)
		return nil
	}
	a.found.Browsable[name] = data
	return nil
}

// finish checks the whole.
func (a *archiveReader) finish() error {
	text, ok := a.found.Browsable[MetadataFile]
	if !ok {
		a.violate(MetadataFile, "missing")
		return asError(a.violations)
	}
	var violations []Violation
	a.found.Metadata, violations = ParseMetadata(text)
	a.violations = append(a.violations, violations...)
	a.violations = append(a.violations, a.found.checkFiles(func(name string) bool { return a.files[name] })...)
	sortViolations(a.violations)
	return asError(a.violations)
}

// countingReader counts the compressed bytes, and keeps an error of the source apart from one of the format.
type countingReader struct {
	r   io.Reader
	n   int64
	err error
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

var errBomb = errors.New("unpacks to more than a pack may hold")

// boundedReader stops a small archive that unpacks to a huge one.
type boundedReader struct {
	r   io.Reader
	raw *countingReader
	n   int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if b.n > MaxSize || b.n > ratioFrom && b.n > maxRatio*b.raw.n {
		return n, errBomb
	}
	return n, err
}
