// Package store keeps the registry's content: repositories of content-addressed blobs and manifests, and tags that
// point at manifests, as the OCI distribution specification defines them.
//
// It is built on a driver's few primitives (create where there is nothing, replace what is unchanged, delete, list in
// order) so that any number of processes can serve one store and each may be killed at any instruction. There is no
// index that two writers could lose each other's entries in: a name is an object. keys.go says where everything lies
// and in which order each operation writes.
package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// Errors that the store returns; compare with errors.Is.
var (
	// ErrNotFound: no such repository, blob, manifest, tag or upload.
	ErrNotFound = errors.New("not found")
	// ErrDigestMismatch: the content is not what the client said it is.
	ErrDigestMismatch = errors.New("the content has another digest")
	// ErrOutOfOrder: a chunk does not begin where the upload stands, or another writer was faster.
	ErrOutOfOrder = errors.New("the upload stands elsewhere")
	// ErrTooManySteps: an upload came in more requests than one may.
	ErrTooManySteps = errors.New("too many steps of one upload")
	// ErrDamaged: a record cannot be read; Verify reports which ones.
	ErrDamaged = errors.New("damaged record")
	// ErrTryAgain: what was sent must be sent once more; nothing is wrong with it.
	ErrTryAgain = errors.New("send it again")
	// ErrTagExists: the tag names another manifest, and may not be moved.
	ErrTagExists = errors.New("the tag exists already")
)

// Store is content on a driver.
type Store struct {
	// UploadAge is how long an upload may take; zero is for ever. Set it before the first use.
	UploadAge time.Duration
	// ReadOnly says that nothing may be written. Set it before the first use.
	ReadOnly bool

	d   driver.Driver
	now func() time.Time
	// sleep waits before a lost write is tried again.
	sleep func(ctx context.Context, d time.Duration) error
	// pinned are nonces of links whose data stays.
	pinned nonceSet
	// manifests, tags and links are records that were taken apart before.
	manifests records[*Manifest]
	tags      records[tagRecord]
	links     records[link]
	// small are digests of manifests that are known to be small, so that to read one whole costs less than to open it.
	small *lru.Cache[digest.Digest, struct{}]
}

func newStore(d driver.Driver) *Store {
	return &Store{d: d, now: time.Now, sleep: sleep, manifests: newRecords[*Manifest](), tags: newRecords[tagRecord](), links: newRecords[link](),
		small: newCache[digest.Digest, struct{}]()}
}

const formatVersion = "packregistry/1\n"

// ErrForeign says that another program's store is there.
var ErrForeign = errors.New("holds what a CNCF distribution registry stored (docker/registry/v2); `registry import` takes that over, " +
	"and leaves it as it is")

// Open opens the store on d, and lays one out where there is none. It returns ErrForeign where that would hide another
// program's.
func Open(ctx context.Context, d driver.Driver) (*Store, error) {
	s := newStore(d)
	err := s.Check(ctx)
	if !errors.Is(err, driver.ErrNotExist) {
		return s, err
	}
	if foreigner, ok := driver.As[driver.Foreigner](d); ok {
		if foreign, err := foreigner.Foreign(ctx); foreign || err != nil {
			return nil, errors.Join(err, fmt.Errorf("the storage %w", ErrForeign))
		}
	}
	return Create(ctx, d)
}

// Create is Open beside whatever else is there.
func Create(ctx context.Context, d driver.Driver) (*Store, error) {
	if err := ignoreExist(d.Create(ctx, formatKey, []byte(formatVersion), driver.Durable)); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s := newStore(d)
	return s, s.Check(ctx)
}

// Check reads the store's format: it fails where the storage cannot be read, or holds a layout of another version.
func (s *Store) Check(ctx context.Context) error {
	found, _, err := s.d.Read(ctx, formatKey)
	if err != nil {
		return fmt.Errorf("read the store's format: %w", err)
	}
	if string(found) != formatVersion {
		return fmt.Errorf("the store has format %q; this program reads %q: use the version that wrote it, or newer",
			strings.TrimSpace(string(found)), strings.TrimSpace(formatVersion))
	}
	return nil
}

// Probe is Check that also tries what a push needs, where the storage can find that out cheaply.
func (s *Store) Probe(ctx context.Context) error {
	prober, ok := driver.As[driver.Prober](s.d)
	if !s.ReadOnly && ok {
		if err := prober.Probe(ctx); err != nil {
			return err
		}
	}
	return s.Check(ctx)
}

// Repository is one repository of the store. It need not exist.
type Repository struct {
	s    *Store
	name string
}

// Repository returns the repository of that name, which must be valid.
func (s *Store) Repository(name string) *Repository { return &Repository{s, name} }

// Name is the repository's name.
func (r *Repository) Name() string { return r.name }

// Repositories returns up to limit names of repositories that begin with prefix and come after the given name, in byte
// order.
func (s *Store) Repositories(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	start := ""
	if after != "" {
		start = escape(after)
	}
	if p := escape(prefix); prefix != "" && start < p {
		// The prefix itself is no repository's name where it ends in a separator, so nothing is passed over.
		start = p
	}
	entries, err := s.list(ctx, catalogPrefix, start, limit)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := unescape(e)
		if !strings.HasPrefix(name, prefix) {
			break
		}
		names = append(names, name)
	}
	return names, nil
}

// nonce is random text that distinguishes one write from every other.
func nonce() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(b[:])
}

// notFound turns the driver's absence into the store's.
func notFound(err error, what string, name any) error {
	if errors.Is(err, driver.ErrNotExist) {
		return fmt.Errorf("%s %v: %w", what, name, ErrNotFound)
	}
	return err
}

// ignoreExist is for writes that are as good when somebody else has made them.
func ignoreExist(err error) error {
	if errors.Is(err, driver.ErrExist) {
		return nil
	}
	return err
}

// mustJSON marshals the store's own records, which always can be.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
