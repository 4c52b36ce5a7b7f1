package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/klauspost/compress/gzip"
)

// Directory is a pack that lies in a directory, checked.
type Directory struct {
	Metadata
	fsys  fs.FS
	files []string
	size  int64
	// Warnings are what could be better about the pack.
	Warnings []Violation
	// contents of the files, browsable those that have a meaning of their own.
	contents  *contents
	browsable map[string][]byte
}

// litter is what editors, systems and version control leave behind, and no pack means to hold.
// What leaveOut names besides is left out with a word.
var litter = []string{".git", ".svn", ".hg", "Thumbs.db"}

// OpenDirectory reads the pack at dir and checks it. What is wrong with it comes as an *Error.
func OpenDirectory(dir string) (*Directory, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: not a directory; name the folder that pack.json is in", dir)
	}
	return openFS(os.DirFS(dir))
}

func openFS(fsys fs.FS) (*Directory, error) {
	d := &Directory{fsys: fsys, contents: newContents(context.Background()), browsable: map[string][]byte{}}
	text, err := readLimited(fsys, MetadataFile, maxMetadata)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, AsError([]Violation{{Path: MetadataFile, Message: "missing; this is no pack's folder"}})
	}
	if err != nil {
		return nil, err
	}
	var violations []Violation
	d.Metadata, violations = ParseMetadata(text)
	found, err := d.list()
	if err != nil {
		return nil, err
	}
	violations = append(violations, found...)
	violations = append(violations, d.checkFiles(func(name string) bool {
		_, err := fs.Stat(fsys, name)
		return err == nil
	})...)
	if len(violations) <= maxViolations && d.size <= MaxSize {
		found, err := d.look(text)
		if err != nil {
			return nil, err
		}
		violations = append(violations, found...)
	}
	locate(text, violations)
	sortViolations(violations)
	return d, AsError(violations)
}

// look looks into the pack's files.
func (d *Directory) look(metadata []byte) ([]Violation, error) {
	for _, name := range d.files {
		if err := d.lookInto(name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	d.browsable[MetadataFile] = metadata
	exists := func(name string) bool { _, err := fs.Stat(d.fsys, name); return err == nil }
	isFolder := func(name string) bool { info, err := fs.Stat(d.fsys, name); return err == nil && info.IsDir() }
	violations, warnings, err := d.contents.check(d.Metadata, d.browsable, exists, isFolder)
	d.Warnings = warnings
	return violations, err
}

func (d *Directory) lookInto(name string) error {
	if IsBrowsable(name) {
		if name == MetadataFile {
			return nil // read already
		}
		text, err := readLimited(d.fsys, name, maxBrowsable)
		d.browsable[name] = text
		return err
	}
	f, err := d.fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return d.contents.add(name, f)
}

// list finds the pack's files, and what could not go into an archive of them. It ends where there are too many: a folder
// that is no pack may be a whole disk.
func (d *Directory) list() (violations []Violation, err error) {
	names := newNameSet()
	var shown shownFiles
	refuse := func(name, problem string) {
		violations = append(violations, Violation{Path: name, Message: problem})
	}
	err = fs.WalkDir(d.fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.skips(name, entry) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		problem := checkName(path.Join(d.Folder(), name))
		if problem == "" && !entry.IsDir() && !entry.Type().IsRegular() {
			problem = "neither a file nor a directory; links are not followed"
		}
		if problem == "" && entry.Type().IsRegular() {
			problem = names.add(name, false)
		}
		switch {
		case problem != "":
			refuse(name, problem)
		case names.size() > MaxFiles:
			refuse("", fmt.Sprintf("more than %d files and folders", MaxFiles))
			return fs.SkipAll
		case entry.Type().IsRegular():
			info, err := entry.Info()
			if err != nil {
				return err
			}
			if IsBrowsable(name) {
				if problem := shown.add(name, info.Size()); problem != "" {
					refuse(name, problem)
				}
			}
			d.files = append(d.files, name)
			d.size += info.Size()
		}
		if len(violations) > maxViolations {
			return fs.SkipAll
		}
		return nil
	})
	if d.size > MaxSize {
		refuse("", fmt.Sprintf("%d bytes; a pack holds %d at most", d.size, int64(MaxSize)))
	}
	return violations, err
}

// skips says whether an entry is no part of the pack, and notes what its author may miss.
func (d *Directory) skips(name string, entry fs.DirEntry) bool {
	if slices.Contains(litter, entry.Name()) {
		return true
	}
	if leaveOut(entry.Name()) {
		d.contents.leftOut = append(d.contents.leftOut, name)
		return true
	}
	return false
}

func readLimited(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return text, err
}

// WriteArchive writes the pack as a compressed archive that holds one folder, <name>-<version>. The same files give the
// same bytes, whoever writes them, when, and where: entries are sorted and carry no times, owners or permissions but
// "readable", and the compressor is part of this program.
func (d *Directory) WriteArchive(w io.Writer) error {
	compressor, err := gzip.NewWriterLevel(w, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(compressor)
	top := d.Folder()
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: top + "/", Mode: 0o755, Format: tar.FormatPAX}); err != nil {
		return err
	}
	files := slices.Clone(d.files)
	slices.Sort(files)
	for _, name := range files {
		if err := d.writeFile(archive, top, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return errors.Join(archive.Close(), compressor.Close())
}

func (d *Directory) writeFile(archive *tar.Writer, top, name string) error {
	f, err := d.fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: path.Join(top, name), Size: info.Size(), Mode: 0o644, Format: tar.FormatPAX,
	}); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}
