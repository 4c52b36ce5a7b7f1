package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/time/rate"

	"packregistry.dev/server/store/driver"
)

// Verification says how to verify.
type Verification struct {
	// BytesPerSecond bounds how fast content is read; zero is as fast as it goes.
	BytesPerSecond int
	// Quarantine takes what is corrupt out of the way: it is kept at q/…, answers 404 from then on, and can be pushed
	// again.
	Quarantine bool
	// Found gets what is wrong, as it is found.
	Found func(Problem)
}

// Problem is something that is not as it should be.
type Problem struct {
	// Kind is corrupt-blob, corrupt-manifest, corrupt-link, corrupt-tag, missing-data (a blob without its content), missing-blob and
	// missing-manifest (a manifest names what its repository lacks), foreign-object (a file that is none of this
	// store's, which is passed over and does not count).
	Kind       string        `json:"kind"`
	Repository string        `json:"repository,omitempty"`
	Digest     digest.Digest `json:"digest,omitempty"`
	Detail     string        `json:"detail"`
}

// Verified is what a verification looked at.
type Verified struct {
	Repositories int   `json:"repositories"`
	Manifests    int   `json:"manifests"`
	Blobs        int   `json:"blobs"`
	Bytes        int64 `json:"bytes"`
	Problems     int   `json:"problems"`
	Quarantined  int   `json:"quarantined"`
	// Strays are files that are not the store's. They are reported, and are no problem.
	Strays int `json:"strays"`
}

type verifier struct {
	s       *Store
	o       Verification
	limiter *rate.Limiter
	done    Verified
}

// verifyBuffer is how much is read at once, and the most that the limit lets through in a burst.
const verifyBuffer = 256 << 10

// Verify reads everything that the store holds and compares it with its digests, while the store is in use. What comes or
// goes meanwhile is no problem. An error means that it could not go on, not that something is wrong.
func (s *Store) Verify(ctx context.Context, o Verification) (Verified, error) {
	v := &verifier{s: s, o: o, limiter: rate.NewLimiter(rate.Inf, verifyBuffer)}
	if o.BytesPerSecond > 0 {
		v.limiter.SetLimit(rate.Limit(o.BytesPerSecond))
	}
	err := s.eachDataReporting(ctx, dataPrefix, func(name string) error { return v.data(ctx, dataPrefix+name) }, v.stray)
	if err != nil {
		return v.done, err
	}
	err = v.each(ctx, catalogPrefix, func(string) error { return nil })
	if err != nil {
		return v.done, err
	}
	err = v.each(ctx, repositoriesPrefix, func(name string) error {
		v.done.Repositories++
		return v.repository(ctx, s.Repository(unescape(strings.TrimSuffix(name, "/"))))
	})
	return v.done, err
}

// each is the store's that reports what lies there and is not the store's.
func (v *verifier) each(ctx context.Context, prefix string, f func(name string) error) error {
	return v.s.eachReporting(ctx, prefix, f, v.stray)
}

// stray reports a file of somebody else. It harms nothing, so it is no problem of the store.
func (v *verifier) stray(key string) {
	v.done.Strays++
	if v.o.Found != nil {
		v.o.Found(Problem{Kind: "foreign-object", Detail: fmt.Sprintf("%s is not of this store, and is passed over", key)})
	}
}

func (v *verifier) found(p Problem) {
	v.done.Problems++
	if v.o.Found != nil {
		v.o.Found(p)
	}
}

// digestOf is the digest in the name of blob data: b/<alg>/<hh>/<hex>.<i>.
func digestOf(dataKey string) (digest.Digest, error) {
	parts := strings.Split(dataKey, "/")
	if len(parts) != 4 {
		return "", fmt.Errorf("%s: not where blob data lies", dataKey)
	}
	hex, generation, ok := strings.Cut(parts[3], ".")
	if _, err := strconv.Atoi(generation); !ok || err != nil {
		return "", fmt.Errorf("%s: not a name of bytes", dataKey)
	}
	d := digest.NewDigestFromEncoded(digest.Algorithm(parts[1]), hex)
	return d, d.Validate()
}

// data compares the data of a blob with its name.
func (v *verifier) data(ctx context.Context, key string) error {
	want, err := digestOf(key)
	if err != nil {
		return err
	}
	o, err := v.s.d.Open(ctx, key)
	if errors.Is(err, driver.ErrNotExist) {
		return nil // collected meanwhile
	}
	if err != nil {
		return err
	}
	defer o.Close() //nolint:errcheck // it is only read
	h, err := newHash(want.Algorithm())
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(h, onlyReader{&limitedReader{ctx, o, v.limiter}}, make([]byte, verifyBuffer))
	if errors.Is(err, driver.ErrNotExist) {
		return v.missing(ctx, key, want)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	v.done.Blobs++
	v.done.Bytes += n
	got := digest.NewDigest(want.Algorithm(), h)
	if got == want {
		return nil
	}
	v.found(Problem{Kind: "corrupt-blob", Digest: want, Detail: fmt.Sprintf("its %d bytes have the digest %s", n, got)})
	if !v.o.Quarantine {
		return nil
	}
	return v.quarantineData(ctx, key)
}

// missing distinguishes data that is being collected from data that is gone while its object is still there.
func (v *verifier) missing(ctx context.Context, key string, d digest.Digest) error {
	m, _, err := v.s.readMark(ctx, key)
	if err != nil || m.tombstoned() {
		return err
	}
	err = v.s.whole(ctx, key)
	if !errors.Is(err, ErrDamaged) {
		return notExistIsNil(err)
	}
	v.done.Blobs++
	v.found(Problem{Kind: "missing-data", Digest: d, Detail: err.Error()})
	if !v.o.Quarantine {
		return nil
	}
	return v.quarantineData(ctx, key)
}

func notExistIsNil(err error) error {
	if errors.Is(err, driver.ErrNotExist) {
		return nil
	}
	return err
}

// limitedReader reads no faster than a limiter allows.
type limitedReader struct {
	ctx     context.Context //nolint:containedctx // lives as long as one call
	r       io.Reader
	limiter *rate.Limiter
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), verifyBuffer)])
	if waited := l.limiter.WaitN(l.ctx, n); waited != nil {
		return n, waited
	}
	return n, err
}

// repository compares a repository's manifests with their digests, and looks whether what they name is there.
func (v *verifier) repository(ctx context.Context, r *Repository) error {
	err := v.each(ctx, linkPrefix(r.name), func(name string) error {
		d, err := parseDigestName(name)
		if err != nil {
			return nil //nolint:nilerr // not of this store
		}
		l, version, err := r.readLink(ctx, d)
		if err == nil && !l.Tombstone {
			return v.link(ctx, r, d, l, version)
		}
		return v.record(ctx, r, "corrupt-link", linkKey(r.name, d), d, err)
	})
	if err != nil {
		return err
	}
	err = v.each(ctx, tagPrefix(r.name), func(tag string) error {
		_, _, err := r.tag(ctx, tag)
		return v.record(ctx, r, "corrupt-tag", tagKey(r.name, tag), "", err)
	})
	if err != nil {
		return err
	}
	return v.each(ctx, manifestPrefix(r.name), func(name string) error {
		d, err := parseDigestName(name)
		if err != nil {
			return err
		}
		m, err := r.Manifest(ctx, d)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		v.done.Manifests++
		switch {
		case err != nil:
			return v.corruptManifest(ctx, r, d, err.Error())
		case d.Algorithm().FromBytes(m.Content) != d:
			return v.corruptManifest(ctx, r, d, "its content has the digest "+d.Algorithm().FromBytes(m.Content).String())
		}
		return v.references(ctx, r, m)
	})
}

// references looks whether all is there that a manifest needs.
func (v *verifier) references(ctx context.Context, r *Repository, m *Manifest) error {
	refs := m.references()
	for _, file := range m.Files {
		refs = append(refs, Reference{Descriptor: ocispec.Descriptor{Digest: file.Digest}, Kind: ToBlob})
	}
	for _, ref := range refs {
		if err := v.reference(ctx, r, m.Digest, ref); err != nil {
			return err
		}
	}
	return nil
}

// record looks at how the reading of a link or a tag went.
func (v *verifier) record(ctx context.Context, r *Repository, kind, key string, d digest.Digest, err error) error {
	if err == nil || errors.Is(err, ErrNotFound) {
		return nil
	}
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	v.found(Problem{Kind: kind, Repository: r.name, Digest: d, Detail: err.Error()})
	if !v.o.Quarantine {
		return nil
	}
	if err := v.aside(ctx, key, key); err != nil {
		return err
	}
	v.done.Quarantined++
	return v.s.d.Delete(ctx, key)
}

// reference looks whether what a manifest names can be read.
func (v *verifier) reference(ctx context.Context, r *Repository, manifest digest.Digest, ref Reference) error {
	if ref.Kind != ToBlob {
		_, err := r.Manifest(ctx, ref.Digest)
		switch {
		case err == nil, errors.Is(err, ErrDamaged): // a damaged one is reported by itself
			return nil
		case !errors.Is(err, ErrNotFound):
			return err
		case ref.Kind == ToManifest && !ref.Optional:
			v.found(Problem{Kind: "missing-manifest", Repository: r.name, Digest: ref.Digest, Detail: fmt.Sprintf("named by the manifest %s", manifest)})
			return nil
		}
	}
	_, err := r.link(ctx, ref.Digest)
	if errors.Is(err, ErrDamaged) {
		return nil // reported already
	}
	if errors.Is(err, ErrNotFound) {
		if !ref.Optional {
			v.found(Problem{Kind: "missing-blob", Repository: r.name, Digest: ref.Digest, Detail: fmt.Sprintf("named by the manifest %s", manifest)})
		}
		return nil
	}
	return err
}

// link looks whether the data of a blob is there that a repository has, whether or not a manifest names it.
func (v *verifier) link(ctx context.Context, r *Repository, d digest.Digest, l link, version driver.Version) error {
	info, err := v.s.d.Stat(ctx, l.Key)
	switch {
	case err == nil && info.Size != l.Size:
		v.found(Problem{Kind: "corrupt-blob", Repository: r.name, Digest: d, Detail: fmt.Sprintf("has %d bytes, not %d", info.Size, l.Size)})
		return nil
	case !errors.Is(err, driver.ErrNotExist):
		return err
	}
	// Where the data was collected, or is being pushed again, that says so.
	if m, _, err := v.s.readMark(ctx, l.Key); err != nil || m.tombstoned() {
		return err
	}
	if _, now, err := r.readLink(ctx, d); err != nil || now != version {
		return v.record(ctx, r, "corrupt-link", linkKey(r.name, d), d, err)
	}
	v.found(Problem{Kind: "missing-data", Repository: r.name, Digest: d, Detail: "the repository has the blob, and its content is gone from the storage"})
	if !v.o.Quarantine {
		return nil
	}
	return v.quarantineData(ctx, l.Key) // from now on it answers 404, and can be pushed again
}
