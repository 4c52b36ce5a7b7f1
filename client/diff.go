package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
)

// Side is one of two packs that are compared: a version of the registry, or a folder.
type Side struct {
	Directory string `json:"directory,omitempty"`
	Name      string `json:"name"`
	Tag       string `json:"tag,omitempty"`
	// Digest is the manifest's, which a folder has none of; Archive is that of the archive.
	Digest  digest.Digest `json:"digest,omitempty"`
	Archive digest.Digest `json:"archive"`

	metadata, values string
	files            map[string]fileSum
}

type fileSum struct {
	size   int64
	digest digest.Digest
}

// Change says what became of a file.
type Change string

// The changes of files.
const (
	Added   Change = "added"
	Removed Change = "removed"
	Changed Change = "changed"
)

// FileChange is a file that differs, by its path below the pack's folder. A size of a file that is not there is 0.
type FileChange struct {
	Name   string `json:"name"`
	Change Change `json:"change"`
	From   int64  `json:"from"`
	To     int64  `json:"to"`
}

// Difference is what differs between two packs. Metadata and Values are unified diffs, empty where nothing differs.
type Difference struct {
	A        Side         `json:"a"`
	B        Side         `json:"b"`
	Same     bool         `json:"same"`
	Metadata string       `json:"metadata,omitempty"`
	Values   string       `json:"values,omitempty"`
	Files    []FileChange `json:"files"`
}

// VersionSide reads a version of the registry to compare it.
func (c *Client) VersionSide(ctx context.Context, name, reference string) (*Side, error) {
	v, archive, err := c.fetchVersion(ctx, name, reference)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	s := &Side{Name: name, Tag: v.tag, Digest: v.manifest.Digest, Archive: v.archive}
	return s, s.read(ctx, archive)
}

// DirectorySide reads the pack of a folder to compare it, as pushing it would.
func DirectorySide(ctx context.Context, dir string) (*Side, error) {
	d, err := pack.OpenDirectory(dir)
	if err != nil {
		return nil, err
	}
	archive, layer, err := writeArchive(d)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	s := &Side{Directory: dir, Name: d.Name, Tag: d.Tag(), Archive: layer.Digest}
	return s, s.read(ctx, archive)
}

// read takes the texts and the files' digests from an archive. Its bounds are those of every archive: a text has 4 MiB at most.
func (s *Side) read(ctx context.Context, archive *os.File) error {
	found, err := pack.ReadArchive(ctx, archive)
	if found == nil {
		return err // what is wrong with its content does not keep it from being compared
	}
	s.values = string(found.Browsable[pack.ValuesFile])
	s.metadata = indented(found.Browsable[pack.MetadataFile])
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s.files = map[string]fileSum{}
	return pack.Walk(ctx, archive, func(name string, size int64, content io.Reader) error {
		sum, err := digest.FromReader(content)
		s.files[name] = fileSum{size, sum}
		return err
	})
}

// indented gives each value of a JSON text a line of its own, so that lines can be compared.
func indented(text []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, bytes.TrimSpace(text), "", "  ") != nil {
		return string(text)
	}
	return b.String() + "\n"
}

// Diff compares two packs.
func Diff(a, b *Side) *Difference {
	d := &Difference{
		A: *a, B: *b, Files: []FileChange{},
		Metadata: unified(a, b, pack.MetadataFile, a.metadata, b.metadata),
		Values:   unified(a, b, pack.ValuesFile, a.values, b.values),
	}
	for name, from := range a.files {
		to, ok := b.files[name]
		switch {
		case !ok:
			d.Files = append(d.Files, FileChange{name, Removed, from.size, 0})
		case from.digest != to.digest:
			d.Files = append(d.Files, FileChange{name, Changed, from.size, to.size})
		}
	}
	for name, to := range b.files {
		if _, ok := a.files[name]; !ok {
			d.Files = append(d.Files, FileChange{name, Added, 0, to.size})
		}
	}
	slices.SortFunc(d.Files, func(x, y FileChange) int { return strings.Compare(x.Name, y.Name) })
	// The archive is byte-stable, but one that another program made may differ from it though all files are the same.
	d.Same = len(d.Files) == 0 && a.Name == b.Name
	return d
}

func unified(a, b *Side, file, from, to string) string {
	if from == to {
		return ""
	}
	return udiff.Unified(a.String()+"/"+file, b.String()+"/"+file, from, to)
}

// String names the side as a command line does.
func (s *Side) String() string {
	switch {
	case s.Directory != "":
		return strings.TrimSuffix(s.Directory, "/")
	case s.Tag != "":
		return s.Name + ":" + s.Tag
	}
	return s.Name + "@" + s.Digest.String()
}
