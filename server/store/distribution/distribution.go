// Package distribution takes over what a CNCF distribution registry has stored, in a directory or a bucket:
//
//	docker/registry/v2/blobs/<alg>/<hh>/<hex>/data
//	docker/registry/v2/repositories/<name>/_manifests/revisions/<alg>/<hex>/link
//	docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/current/link
//
// It only reads there. Everything is compared with its digest on the way, and what is there already is passed over, so
// that an import that was interrupted, or that is repeated while the old registry still takes pushes, goes on where it
// stands.
package distribution

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
)

// Root is where the layout begins.
const Root = "docker/registry/v2/"

// Source is a place that can be read. A storage driver is one.
type Source interface {
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
	Open(ctx context.Context, key string) (driver.Object, error)
}

// Summary is what an import did.
type Summary struct {
	Repositories int   `json:"repositories"`
	Manifests    int   `json:"manifests"`
	Tags         int   `json:"tags"`
	Blobs        int   `json:"blobs"`
	Bytes        int64 `json:"bytes"`
	// Problems are what could not be taken over, and why.
	Problems []string `json:"problems,omitempty"`
}

// Import copies everything from a source to a store. progress, if set, gets each repository's name.
func Import(ctx context.Context, from Source, to *store.Store, progress func(name string)) (Summary, error) {
	i := &importer{from: from, to: to, progress: progress}
	err := i.walk(ctx, "")
	return i.done, err
}

type importer struct {
	from     Source
	to       *store.Store
	progress func(string)
	done     Summary
}

func (i *importer) problem(format string, args ...any) {
	i.done.Problems = append(i.done.Problems, fmt.Sprintf(format, args...))
}

// list returns all names directly below a key.
func (i *importer) list(ctx context.Context, key string) ([]string, error) {
	const page = 1000
	var all []string
	after := ""
	for {
		names, err := i.from.List(ctx, Root+key, after, page)
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
		if len(names) < page {
			return all, nil
		}
		after = names[len(names)-1]
	}
}

// maxSmall bounds links and manifests.
const maxSmall = 16 << 20

func (i *importer) read(ctx context.Context, key string) ([]byte, error) {
	o, err := i.from.Open(ctx, Root+key)
	if err != nil {
		return nil, err
	}
	defer o.Close() //nolint:errcheck // it is only read
	if o.Info().Size > maxSmall {
		return nil, fmt.Errorf("%s: %d bytes are too many", key, o.Info().Size)
	}
	return io.ReadAll(o)
}

// readLink reads a file that holds a digest and nothing else.
func (i *importer) readLink(ctx context.Context, key string) (digest.Digest, error) {
	text, err := i.read(ctx, key)
	if err != nil {
		return "", err
	}
	d := digest.Digest(strings.TrimSpace(string(text)))
	if !store.SupportedDigest(d) {
		return "", fmt.Errorf("%s: holds %.80q, which is no digest", key, text)
	}
	return d, nil
}

// walk finds repositories: a folder that has _manifests is one, and may hold others.
func (i *importer) walk(ctx context.Context, name string) error {
	names, err := i.list(ctx, "repositories/"+name)
	if err != nil {
		return err
	}
	for _, entry := range names {
		switch {
		case entry == "_manifests/":
			if err := i.repository(ctx, strings.TrimSuffix(name, "/")); err != nil {
				return err
			}
		case strings.HasSuffix(entry, "/") && !strings.HasPrefix(entry, "_"):
			if err := i.walk(ctx, name+entry); err != nil {
				return err
			}
		}
	}
	return nil
}

func (i *importer) repository(ctx context.Context, name string) error {
	if !store.ValidName(name) {
		i.problem("%s: no valid name of a repository", name)
		return nil
	}
	if i.progress != nil {
		i.progress(name)
	}
	r := &repository{importer: i, to: i.to.Repository(name), key: "repositories/" + name + "/_manifests/", state: map[digest.Digest]error{}}
	i.done.Repositories++
	revisions, err := r.revisions(ctx)
	if err != nil {
		return err
	}
	for _, d := range revisions {
		r.state[d] = errPending
	}
	for _, d := range revisions {
		if err := r.manifest(ctx, d); err != nil {
			return err
		}
	}
	return r.tags(ctx)
}

var (
	errPending = errors.New("not looked at yet")
	errSkipped = errors.New("could not be taken over")
)

// repository is one under way. state says of each revision whether it was taken over: nil, errPending or errSkipped.
type repository struct {
	*importer
	to    *store.Repository
	key   string
	state map[digest.Digest]error
}

// revisions are the digests of manifests that were not deleted.
func (r *repository) revisions(ctx context.Context) ([]digest.Digest, error) {
	var found []digest.Digest
	algorithms, err := r.list(ctx, r.key+"revisions/")
	if err != nil {
		return nil, err
	}
	for _, algorithm := range algorithms {
		names, err := r.list(ctx, r.key+"revisions/"+algorithm)
		if err != nil {
			return nil, err
		}
		for _, hex := range names {
			d, err := r.readLink(ctx, r.key+"revisions/"+algorithm+hex+"link")
			switch {
			case errors.Is(err, driver.ErrNotExist): // deleted
			case err != nil:
				r.problem("%s: %v", r.to.Name(), err)
			default:
				found = append(found, d)
			}
		}
	}
	return found, nil
}

func dataKey(d digest.Digest) string {
	return fmt.Sprintf("blobs/%s/%s/%s/data", d.Algorithm(), d.Encoded()[:2], d.Encoded())
}

// mediaType is what a manifest says that it is, or looks like.
func mediaType(text []byte) string {
	declared, guess, _ := store.DeclaredMediaType(text) //nolint:errcheck // what is wrong is reported where the manifest is parsed
	return cmp.Or(declared, guess, ocispec.MediaTypeImageManifest)
}

// skip notes why a manifest is not taken over. That is no reason not to go on: it returns nil.
func (r *repository) skip(d digest.Digest, format string, args ...any) error {
	r.state[d] = errSkipped
	r.problem("%s@%s: %s", r.to.Name(), d, fmt.Sprintf(format, args...))
	return nil
}

// manifest takes over a manifest, after everything that it names. An error means that the import cannot go on.
func (r *repository) manifest(ctx context.Context, d digest.Digest) error {
	if !errors.Is(r.state[d], errPending) {
		return nil
	}
	r.state[d] = errSkipped // until it is known better, and so that a ring of manifests ends
	text, err := r.read(ctx, dataKey(d))
	switch {
	case errors.Is(err, driver.ErrNotExist):
		return r.skip(d, "its content is gone")
	case err != nil:
		return err
	case d.Algorithm().FromBytes(text) != d:
		return r.skip(d, "its content has the digest %s", d.Algorithm().FromBytes(text))
	}
	c, err := store.ParseManifest(mediaType(text), text)
	if err != nil {
		return r.skip(d, "%v", err)
	}
	p := store.PutManifest{Digest: d, MediaType: mediaType(text), Content: text}
	for _, ref := range c.References() {
		if lacking, err := r.reference(ctx, &p, ref); err != nil {
			return err
		} else if lacking != "" {
			return r.skip(d, "names the %s %s, which the source lacks or has damaged", lacking, ref.Digest)
		}
	}
	if c.Subject != nil {
		p.Subject = c.Subject.Digest
		// One whose annotations are too long for the list is listed without them.
		if p.Referrer, err = c.Referrer(p.MediaType, d, len(text)); err != nil && !errors.Is(err, store.ErrLongReferrer) {
			return err
		}
	}
	if err := r.to.PutManifest(ctx, p); err != nil {
		return err
	}
	r.state[d] = nil
	r.done.Manifests++
	return nil
}

// reference takes over what a manifest names, and says as what it is lacking, if it is.
func (r *repository) reference(ctx context.Context, p *store.PutManifest, ref store.Reference) (lacking string, err error) {
	if r.state[ref.Digest] != nil && ref.Kind != store.ToBlob {
		if err := r.manifest(ctx, ref.Digest); err != nil {
			return "", err
		}
	}
	if state, known := r.state[ref.Digest]; ref.Kind != store.ToBlob && known && state == nil {
		p.Manifests = append(p.Manifests, ref.Digest)
		return "", nil
	}
	if ref.Kind == store.ToManifest {
		return "manifest", nil
	}
	switch err := r.blob(ctx, ref.Descriptor); {
	case errors.Is(err, driver.ErrNotExist) && ref.Optional: // it lies elsewhere
	case errors.Is(err, driver.ErrNotExist), errors.Is(err, store.ErrDigestMismatch):
		return "blob", nil
	case err != nil:
		return "", err
	default:
		p.Blobs = append(p.Blobs, ref.Digest)
	}
	return "", nil
}

// blob takes over a blob, unless it is there.
func (r *repository) blob(ctx context.Context, d ocispec.Descriptor) error {
	if !store.SupportedDigest(d.Digest) {
		return fmt.Errorf("%q: %w", d.Digest, driver.ErrNotExist)
	}
	if has, err := r.to.HasBlob(ctx, d.Digest); has || err != nil {
		return err
	}
	o, err := r.from.Open(ctx, Root+dataKey(d.Digest))
	if err != nil {
		return err
	}
	defer o.Close() //nolint:errcheck // it is only read
	if err := r.to.PutStream(ctx, o, d.Digest); err != nil {
		return err
	}
	r.done.Blobs++
	r.done.Bytes += o.Info().Size
	return nil
}

func (r *repository) tags(ctx context.Context) error {
	names, err := r.list(ctx, r.key+"tags/")
	if err != nil {
		return err
	}
	for _, entry := range names {
		tag := strings.TrimSuffix(entry, "/")
		d, err := r.readLink(ctx, r.key+"tags/"+entry+"current/link")
		switch state, known := r.state[d]; {
		case errors.Is(err, driver.ErrNotExist): // deleted
		case err != nil:
			r.problem("%s:%s: %v", r.to.Name(), tag, err)
		case !store.ValidTag(tag):
			r.problem("%s:%s: no valid tag", r.to.Name(), tag)
		case !known || state != nil:
			r.problem("%s:%s: names the manifest %s, which was not taken over", r.to.Name(), tag, d)
		default:
			if err := r.to.Tag(ctx, tag, d, "", true); err != nil {
				return err
			}
			r.done.Tags++
		}
	}
	return nil
}

// Directory is a source on a file system, at the registry's root directory.
func Directory(root string) (Source, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	return directory{r}, nil
}

// directory reads below a root and nowhere else, whatever links lie there.
type directory struct{ root *os.Root }

func (d directory) List(_ context.Context, prefix, after string, limit int) ([]string, error) {
	f, err := d.root.Open(filepath.FromSlash(strings.TrimSuffix(prefix, "/")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it is only read
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		if name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(limit, len(names))], nil
}

func (d directory) Open(_ context.Context, key string) (driver.Object, error) {
	f, err := d.root.Open(filepath.FromSlash(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", key, driver.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close() //nolint:errcheck // the error says more
		return nil, err
	}
	return file{f, driver.Info{Size: info.Size(), ModTime: info.ModTime()}}, nil
}

type file struct {
	*os.File
	info driver.Info
}

func (f file) Info() driver.Info { return f.info }
