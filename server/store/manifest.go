package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// header is the line that stands before a manifest's content.
type header struct {
	// Generation distinguishes this manifest from one of the same content that was deleted before: tags of that one stay dead.
	Generation string    `json:"incarnation"`
	MediaType  string    `json:"mediaType"`
	Time       time.Time `json:"time"`
	By         string    `json:"by,omitempty"`
	Subject    string    `json:"subject,omitempty"`
	// Files are blobs of the repository that belong to the manifest without being named in it.
	Files []File `json:"files,omitempty"`
	// Pack is the tag that the pack.json in the manifest's archive makes, where that archive was validated.
	Pack string `json:"pack,omitempty"`
	// Marked is when a collector found that nothing refers to the manifest; see gc.go.
	Marked *time.Time `json:"condemned,omitempty"`
	// Nonce differs with every change, so that no two states of the object look the same to whoever compares them.
	Nonce string `json:"nonce,omitempty"`
	// Tombstone stands for no manifest at all, where the storage cannot delete on a condition.
	Tombstone bool `json:"purged,omitempty"`
}

// File is a file of a pack that is a blob of its own too.
type File struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Archive is the blob that a list of files is of.
	Archive digest.Digest `json:"archive,omitempty"`
}

// Manifest is a manifest with what the store knows of it. It is shared with others who read it: nobody changes it.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	// Size is the content's, in bytes.
	Size    int64
	Content []byte
	// Pushed and By say when it came, and from whom.
	Pushed time.Time
	By     string
	Files  []File
	// Pack is the version, as a tag, that the manifest was validated as; empty where it was not.
	Pack string

	header  header
	version driver.Version
}

// Manifest returns a manifest of this repository.
func (r *Repository) Manifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	m, err := r.readManifest(ctx, d)
	if err == nil && m.header.Tombstone {
		return nil, fmt.Errorf("manifest %s: %w", d, ErrNotFound)
	}
	return m, err
}

func (r *Repository) readManifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	key := manifestKey(r.name, d)
	data, version, err := r.s.d.Read(ctx, key)
	if err != nil {
		return nil, notFound(err, "manifest", d)
	}
	m, err := r.s.manifests.read(key, version, data, func(data []byte) (*Manifest, error) { return parseManifest(d, version, data) })
	if err != nil {
		return nil, fmt.Errorf("manifest %s in %s: %w: %w", d, r.name, ErrDamaged, err)
	}
	return m, nil
}

// Bounds of reading a header alone: it is no longer than that many bytes, and the rest of an object that is no longer than
// smallManifest comes along at no cost.
const (
	maxHeader     = 1 << 20
	smallManifest = 64 << 10
)

// readHeader reads what is known of a manifest, which is its object's first line. size is the manifest's, in bytes.
func (r *Repository) readHeader(ctx context.Context, d digest.Digest) (h header, size int64, err error) {
	h, size, _, err = r.readIfSmall(ctx, d)
	return h, size, err
}

// readIfSmall is readHeader with the manifest itself, if it is small. A large one stays where it is.
func (r *Repository) readIfSmall(ctx context.Context, d digest.Digest) (h header, size int64, content []byte, err error) {
	o, err := r.s.d.Open(ctx, manifestKey(r.name, d))
	if err != nil {
		return h, 0, nil, notFound(err, "manifest", d)
	}
	defer o.Close() //nolint:errcheck // it was only read
	whole := o.Info().Size
	from := bufio.NewReader(io.LimitReader(o, maxHeader))
	line, err := from.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("manifest %s in %s: %w: no header", d, r.name, ErrDamaged)
	}
	if err != nil {
		return h, 0, nil, err
	}
	if whole <= smallManifest { // to its end, after which a connection serves again
		if content, err = io.ReadAll(from); err != nil {
			return h, 0, nil, err
		}
	}
	h, err = parseHeader(line)
	if err != nil {
		err = fmt.Errorf("manifest %s in %s: %w: its header: %w", d, r.name, ErrDamaged, err)
	} else if h.Tombstone {
		err = fmt.Errorf("manifest %s: %w", d, ErrNotFound)
	}
	return h, whole - int64(len(line)), content, err
}

// Head returns what is known of a manifest of this repository, and a small one's content too. A large one is not read.
func (r *Repository) Head(ctx context.Context, d digest.Digest) (*Manifest, error) {
	if _, small := r.s.small.Get(d); small {
		return r.Manifest(ctx, d) // which storage and records remember
	}
	h, size, content, err := r.readIfSmall(ctx, d)
	if err != nil {
		return nil, err
	}
	if content != nil {
		r.s.small.Add(d, struct{}{})
	}
	m := newManifest(d, h, size)
	m.Content = content
	return m, nil
}

// HasManifest says whether a manifest is in this repository, whatever its size.
func (r *Repository) HasManifest(ctx context.Context, d digest.Digest) (bool, error) {
	_, _, err := r.readHeader(ctx, d)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func parseHeader(line []byte) (h header, err error) {
	if err := json.Unmarshal(line, &h); err != nil {
		return h, err
	}
	return h, h.check()
}

// parseManifest takes a manifest's object apart.
func parseManifest(d digest.Digest, version driver.Version, data []byte) (*Manifest, error) {
	line, content, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return nil, errors.New("no header")
	}
	h, err := parseHeader(line)
	if err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	m := newManifest(d, h, int64(len(content)))
	m.Content, m.version = content, version
	return m, nil
}

func newManifest(d digest.Digest, h header, size int64) *Manifest {
	return &Manifest{Digest: d, MediaType: h.MediaType, Size: size, Pushed: h.Time, By: h.By, Files: h.Files, Pack: h.Pack, header: h}
}

// check returns an error where a digest is none: digests are taken apart without being checked from here on.
func (h header) check() error {
	if h.Subject != "" {
		if err := validDigest("subject", digest.Digest(h.Subject)); err != nil {
			return err
		}
	}
	for _, file := range h.Files {
		if err := validDigest("the digest of file "+strconv.Quote(file.Name), file.Digest); err != nil {
			return err
		}
		if file.Archive != "" {
			if err := validDigest("the archive of file "+strconv.Quote(file.Name), file.Archive); err != nil {
				return err
			}
		}
	}
	return nil
}

// record is a manifest's object.
func (h header) record(content []byte) []byte { return append(append(mustJSON(h), '\n'), content...) }

// replaceHeader writes a header over the one that was seen.
func (r *Repository) replaceHeader(ctx context.Context, m *Manifest, h header) error {
	return r.s.d.Replace(ctx, manifestKey(r.name, m.Digest), h.record(m.Content), m.version)
}

// keepManifest is retainManifest for who wants no more of it than that it stays.
func (r *Repository) keepManifest(ctx context.Context, d digest.Digest) error {
	h, _, err := r.readHeader(ctx, d)
	if err == nil && h.Marked != nil {
		_, err = r.retainManifest(ctx, d)
	}
	return err
}

// retainManifest finds a manifest that somebody will rely on: where a collector is about to remove it, it is kept.
func (r *Repository) retainManifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	for try := (attempts{}); ; {
		m, err := r.Head(ctx, d)
		if err != nil || m.header.Marked == nil {
			return m, err
		}
		if m, err = r.Manifest(ctx, d); err != nil || m.header.Marked == nil {
			return m, err
		}
		kept := m.header
		kept.Marked, kept.Nonce = nil, nonce()
		err = r.replaceHeader(ctx, m, kept)
		if err != nil && !isLostRace(err) {
			return nil, err
		}
		if err != nil {
			if err := try.again(ctx, r.s, err); err != nil {
				return nil, err
			}
		}
	}
}
