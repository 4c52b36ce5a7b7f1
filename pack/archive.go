package pack

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Bounds on what an archive may unpack to. The largest public pack is some 5 MB.
const (
	// MaxFiles bounds files and folders together.
	MaxFiles = 10_000
	// MaxSize bounds what all files hold, in bytes.
	MaxSize = 1 << 30
	// maxRatio is how much larger than its compressed bytes an archive may be, beyond the first ratioFrom bytes.
	maxRatio  = 200
	ratioFrom = 16 << 20
	// maxBrowsable bounds each of the files that are kept as blobs of their own, and maxBrowsableSum all of them: they are held in
	// memory, and bytes that are all the same take next to none in the archive.
	maxBrowsable    = 4 << 20
	maxBrowsableSum = 8 << 20
)

// Archive is what was found in a pack's archive.
type Archive struct {
	Metadata
	// Browsable holds the contents of the files that IsBrowsable names.
	Browsable map[string][]byte
	// Files are all of them, in the archive's order.
	Files []File
	// Warnings are what could be better about the pack.
	Warnings []Violation
}

// File is a file of a pack: its path below the top folder, and its size in bytes.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// ReadArchive reads a pack's archive, compressed or not, without keeping more of it than its browsable files. What is
// wrong with the pack comes as an *Error; any other error is one of reading.
func ReadArchive(ctx context.Context, r io.Reader) (*Archive, error) {
	reader := &archiveReader{ctx: ctx, names: newNameSet(), found: &Archive{Browsable: map[string][]byte{}}, contents: newContents(ctx)}
	if err := reader.read(r); err != nil {
		return nil, err
	}
	if err := reader.finish(); err != nil {
		return nil, err
	}
	return reader.found, AsError(reader.violations)
}

// ErrStop ends Walk early, without an error.
var ErrStop = errors.New("stop")

// Walk hands each file of an archive to visit, in the archive's order, by its path below the top folder and with its size
// in bytes. The archive's bounds hold here too.
func Walk(ctx context.Context, r io.Reader, visit func(name string, size int64, content io.Reader) error) error {
	reader := &archiveReader{ctx: ctx, names: newNameSet(), visit: visit}
	err := reader.read(r)
	if errors.Is(err, ErrStop) {
		return nil
	}
	if err != nil {
		return err
	}
	return AsError(reader.violations)
}

// UnpackTo is Walk for those who want no sizes.
func UnpackTo(ctx context.Context, r io.Reader, write func(name string, content io.Reader) error) error {
	return Walk(ctx, r, func(name string, _ int64, content io.Reader) error { return write(name, content) })
}

type archiveReader struct {
	ctx   context.Context //nolint:containedctx // it lives as long as one call of ReadArchive or Walk
	found *Archive
	names *nameSet
	// contents looks into the files; nil for Walk.
	contents *contents
	top      string
	// entries counts headers, and announced the bytes that they say will follow.
	entries    int
	announced  int64
	shown      shownFiles
	violations []Violation
	visit      func(name string, size int64, content io.Reader) error
}

func (a *archiveReader) violate(path, format string, args ...any) {
	a.violations = append(a.violations, Violation{Path: clip(path, maxQuoted), Message: fmt.Sprintf(format, args...)})
}

// errStop ends the reading of an archive that cannot become a pack any more.
var errStop = errors.New("stop")

func (a *archiveReader) read(r io.Reader) error {
	raw := &countingReader{r: contextReader{a.ctx, r}}
	buffered := bufio.NewReader(raw)
	var content io.Reader = buffered
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		decompressor, err := gzip.NewReader(buffered)
		if err != nil {
			return AsError([]Violation{{Message: "not a gzip archive: " + err.Error()}})
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
			return AsError(a.violations)
		case raw.err != nil:
			return raw.err
		case errors.Is(err, errBomb):
			return AsError(append(a.violations, Violation{Message: err.Error()}))
		case isWriteError(err):
			return err
		case err != nil:
			return AsError(append(a.violations, Violation{Message: "not a tar archive: " + err.Error()}))
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
	if a.entries++; a.entries > MaxFiles+1 { // the top folder may have an entry too
		a.violate("", "more than %d files and folders", MaxFiles)
		return errStop
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	top, name, problem := a.place(h)
	if problem != "" {
		a.violate(h.Name, "%s", problem)
		return errStop
	}
	if top == "" {
		return nil
	}
	if leaveOut(top) {
		name = path.Join("..", top, name) // beside the top folder, so it cannot be taken for a file in it
	} else {
		a.top = top
	}
	if name == "" {
		return nil
	}
	folder := h.Typeflag == tar.TypeDir
	if problem := a.names.add(name, folder); problem != "" {
		a.violate(h.Name, "%s", problem)
		return errStop
	}
	if a.names.size() > MaxFiles {
		a.violate("", "more than %d files and folders", MaxFiles)
		return errStop
	}
	if a.announced += h.Size; h.Size > MaxSize || a.announced > MaxSize {
		return errBomb
	}
	if leaveOut(name) {
		// Only now: whoever unpacks the archive with something else gets this, too.
		if a.contents != nil {
			a.contents.leftOut = append(a.contents.leftOut, clip(path.Clean(h.Name), maxQuoted))
		}
		return nil
	}
	if folder {
		return nil
	}
	return a.file(name, h.Size, content)
}

// place returns the top folder and the clean path below it that an entry is at, "" where it stands for the folder itself,
// or what is wrong with the entry. What is left out may lie beside the top folder.
func (a *archiveReader) place(h *tar.Header) (top, name, problem string) {
	if len(h.Name) > maxNameLength {
		return "", "", checkName(h.Name)
	}
	clean := path.Clean(h.Name)
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", "", "leads out of the pack"
	}
	if clean == "." {
		return "", "", ""
	}
	if problem := checkName(clean); problem != "" {
		return "", "", problem
	}
	top, name, nested := strings.Cut(clean, "/")
	beside := leaveOut(top)
	switch {
	case a.top != "" && top != a.top && !beside:
		return "", "", fmt.Sprintf("the archive must hold one top folder; there is %q too", clip(a.top, maxQuoted))
	case isSparse(h):
		return "", "", "a sparse file; pack it as it is"
	case h.Typeflag == tar.TypeDir:
		return top, name, ""
	case h.Typeflag != tar.TypeReg:
		return "", "", "neither a file nor a directory; links and devices are refused"
	case !nested && !beside:
		return "", "", "the archive must hold one top folder with the pack's files in it"
	}
	return top, name, ""
}

// isSparse says whether an entry stands for more bytes than the archive holds, in the old GNU form or in one of PAX's.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (a *archiveReader) file(name string, size int64, content io.Reader) error {
	if a.visit != nil {
		if err := a.visit(name, size, content); err != nil {
			return writeError{err}
		}
		return nil
	}
	a.found.Files = append(a.found.Files, File{name, size})
	if !IsBrowsable(name) {
		return errors.Join(a.contents.add(name, content), drain(content))
	}
	if problem := a.shown.add(name, size); problem != "" {
		a.violate(name, "%s", problem)
		return errStop
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(content, data); err != nil {
		return err
	}
	a.found.Browsable[name] = data
	return nil
}

func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// finish checks the whole. The error is one of reading.
func (a *archiveReader) finish() error {
	text, ok := a.found.Browsable[MetadataFile]
	if !ok {
		a.violate(MetadataFile, "missing")
		return nil
	}
	var violations []Violation
	a.found.Metadata, violations = ParseMetadata(text)
	a.violations = append(a.violations, violations...)
	exists := func(name string) bool { return a.names.has(name) && !leaveOut(name) }
	a.violations = append(a.violations, a.found.checkFiles(exists)...)
	violations, warnings, err := a.contents.check(a.found.Metadata, a.found.Browsable, exists, a.names.isFolder)
	a.violations = append(a.violations, violations...)
	a.found.Warnings = warnings
	locate(text, a.violations)
	sortViolations(a.violations)
	return err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it lives as long as one call of ReadArchive or Walk
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
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
