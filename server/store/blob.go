package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// link is the record that a blob is in a repository.
type link struct {
	// Key is where the blob data is.
	Key   string `json:"key,omitempty"`
	Size  int64  `json:"size,omitempty"`
	Nonce string `json:"nonce"`
	// Marked is when a collector found that nothing refers to the blob; see gc.go.
	Marked *time.Time `json:"condemned,omitempty"`
	// Tombstone stands for no link at all, where the storage cannot delete on a condition.
	Tombstone bool `json:"purged,omitempty"`
}

// parseLink takes a link's object apart. One whose key is not that of blob data is damaged: it leads to no other object.
func parseLink(data []byte) (link, error) {
	l, err := parseJSON[link](data)
	if err == nil && !l.Tombstone && (!dataGrammar.MatchString(l.Key) || l.Size < 0) {
		err = fmt.Errorf("key %q with %d bytes is not that of a blob", l.Key, l.Size)
	}
	return l, err
}

func (r *Repository) readLink(ctx context.Context, d digest.Digest) (link, driver.Version, error) {
	key := linkKey(r.name, d)
	data, version, err := r.s.d.Read(ctx, key)
	if err != nil {
		return link{}, "", notFound(err, "blob", d)
	}
	l, err := r.s.links.read(key, version, data, parseLink)
	if err != nil {
		return link{}, "", fmt.Errorf("link of blob %s in %s: %w: %w", d, r.name, ErrDamaged, err)
	}
	return l, version, nil
}

// link finds a blob for a reader. That it was found promises nothing for later.
func (r *Repository) link(ctx context.Context, d digest.Digest) (link, error) {
	l, _, err := r.readLink(ctx, d)
	if err == nil && l.Tombstone {
		err = fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	return l, err
}

// retain finds a blob whose existence somebody will rely on: where a collector is about to remove it, it is kept.
func (r *Repository) retain(ctx context.Context, d digest.Digest) (link, error) {
	for try := (attempts{}); ; {
		l, version, err := r.readLink(ctx, d)
		if err == nil && l.Tombstone {
			err = fmt.Errorf("blob %s: %w", d, ErrNotFound)
		}
		if err != nil {
			return link{}, err
		}
		if l.Marked != nil {
			l.Marked, l.Nonce = nil, nonce()
			if err := r.s.d.Replace(ctx, linkKey(r.name, d), mustJSON(l), version); isLostRace(err) {
				if err := try.again(ctx, r.s, err); err != nil {
					return link{}, err
				}
				continue
			} else if err != nil {
				return link{}, err
			}
		}
		return l, r.s.pinLink(ctx, l)
	}
}

// pinLink makes sure that the blob data that a link names stays as long as the link does.
func (s *Store) pinLink(ctx context.Context, l link) error {
	if s.pinned.has(l.Nonce) {
		return nil
	}
	if err := s.pin(ctx, l.Key); err != nil {
		return err
	}
	s.pinned.add(l.Nonce)
	return nil
}

// isLostRace says that somebody else changed an object meanwhile, so that it must be looked at again.
func isLostRace(err error) bool {
	return errors.Is(err, driver.ErrChanged) || errors.Is(err, driver.ErrNotExist)
}

// StatBlob returns the size of a blob of this repository, in bytes. The blob stays for a while: a client will not
// upload what it was answered is there.
func (r *Repository) StatBlob(ctx context.Context, d digest.Digest) (int64, error) {
	if r.s.ReadOnly { // nobody pushes, so nobody relies on it
		l, err := r.link(ctx, d)
		if err == nil { // what else would find out that a collector of another process removed them
			_, err = r.s.d.Stat(ctx, l.Key)
		}
		return l.Size, notFound(err, "blob", d)
	}
	l, err := r.retain(ctx, d)
	return l.Size, err
}

// Blob opens a blob of this repository.
func (r *Repository) Blob(ctx context.Context, d digest.Digest) (driver.Object, error) {
	l, err := r.link(ctx, d)
	if err != nil {
		return nil, err
	}
	o, err := r.s.d.Open(ctx, l.Key)
	if err != nil {
		return nil, notFound(err, "blob", d)
	}
	if size := o.Info().Size; size != l.Size {
		o.Close() //nolint:errcheck // it was only looked at
		return nil, fmt.Errorf("blob %s in %s: %w: %d bytes are there, of %d", d, r.name, ErrDamaged, size, l.Size)
	}
	return o, nil
}

// BlobURL returns an address at which a blob of this repository can be read without a credential for a while, or "" where
// the storage gives none.
func (r *Repository) BlobURL(ctx context.Context, d digest.Digest) (string, error) {
	redirector, ok := driver.As[driver.Redirector](r.s.d)
	if !ok || !redirector.Redirects() {
		return "", nil
	}
	l, err := r.link(ctx, d)
	if err != nil {
		return "", err
	}
	address, err := redirector.URL(ctx, l.Key)
	return address, notFound(err, "blob", d)
}

// DeleteBlob takes a blob out of this repository. Other repositories keep it. Where it is pushed again meanwhile it was deleted
// before that, and stays.
func (r *Repository) DeleteBlob(ctx context.Context, d digest.Digest) error {
	ctx = driver.WithReserve(ctx)
	l, version, err := r.readLink(ctx, d)
	if err == nil && l.Tombstone {
		err = fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	if err != nil {
		return err
	}
	for try := (attempts{}); !l.Tombstone; {
		err := r.removeLink(ctx, d, version)
		if !isLostRace(err) {
			return err
		}
		if err := try.again(ctx, r.s, err); err != nil {
			return err
		}
		if l, version, err = r.readLink(ctx, d); errors.Is(err, ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// removeLink removes a link that is still as it was seen.
func (r *Repository) removeLink(ctx context.Context, d digest.Digest, version driver.Version) error {
	return r.s.removeUnchanged(ctx, linkKey(r.name, d), mustJSON(link{Tombstone: true, Nonce: nonce()}), version)
}

// MountBlob puts a blob of another repository into this one.
func (r *Repository) MountBlob(ctx context.Context, from *Repository, d digest.Digest) error {
	l, err := from.retain(ctx, d)
	if err != nil {
		return err
	}
	err = r.addLink(ctx, d, l.Key, l.Size)
	if errors.Is(err, errTombstoned) {
		err = fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	return err
}

// addLink publishes that a blob is in the repository, its data at key, and pins that. It returns errTombstoned
// where a collector was faster: then the data must be stored again, as another generation.
func (r *Repository) addLink(ctx context.Context, d digest.Digest, key string, size int64) error {
	l := link{Key: key, Size: size, Nonce: nonce()}
	for try := (attempts{}); ; {
		err := r.s.d.Create(ctx, linkKey(r.name, d), mustJSON(l), driver.Durable)
		if err == nil {
			break
		}
		if !errors.Is(err, driver.ErrExist) {
			return err
		}
		current, version, err := r.readLink(ctx, d)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil {
			if !current.Tombstone && current.Marked == nil {
				err := r.s.pinLink(ctx, current)
				if !errors.Is(err, errTombstoned) {
					return err // it was here already
				}
			}
			if err = r.s.d.Replace(ctx, linkKey(r.name, d), mustJSON(l), version); err == nil {
				break
			} else if !isLostRace(err) {
				return err
			}
		}
		if err := try.again(ctx, r.s, err); err != nil {
			return err
		}
	}
	return r.s.pinLink(ctx, l)
}

// maxGenerations bounds how often one blob's data can have been collected and that not been forgotten.
const maxGenerations = 1000

// newData returns the key under which a blob's data is to be stored: the first generation that is not tombstoned.
func (s *Store) newData(ctx context.Context, d digest.Digest) (string, error) {
	for i := range maxGenerations {
		key := dataKey(d, i)
		m, _, err := s.readMark(ctx, key)
		if err != nil || !m.tombstoned() {
			return key, err
		}
	}
	return "", fmt.Errorf("blob %s: was collected %d times", d, maxGenerations)
}

// PutBlob stores a small blob that is at hand.
func (r *Repository) PutBlob(ctx context.Context, data []byte) (digest.Digest, error) {
	d := digest.FromBytes(data)
	for try := (attempts{}); ; {
		err := r.putBlob(ctx, d, data)
		if errors.Is(err, errBusy) || !errors.Is(err, ErrTryAgain) && !errors.Is(err, errTombstoned) {
			return d, err
		}
		if err := try.again(ctx, r.s, err); err != nil {
			return "", err
		}
	}
}

func (r *Repository) putBlob(ctx context.Context, d digest.Digest, data []byte) error {
	key, err := r.s.newData(ctx, d)
	if err != nil {
		return err
	}
	err = r.s.d.Create(ctx, key, data, driver.Durable)
	if errors.Is(err, driver.ErrExist) {
		err = r.s.confirm(ctx, key, content{digest: d, size: int64(len(data))})
	}
	if err != nil {
		return err
	}
	return r.addLink(ctx, d, key, int64(len(data)))
}

// ReadBlob returns a blob of this repository whole, if it is no larger than limit bytes.
func (r *Repository) ReadBlob(ctx context.Context, d digest.Digest, limit int64) ([]byte, error) {
	o, err := r.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if size := o.Info().Size; size > limit {
		return nil, fmt.Errorf("blob %s: %d bytes, more than %d", d, size, limit)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(o); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// HasBlob says whether a blob is in this repository, and keeps it there for a while.
func (r *Repository) HasBlob(ctx context.Context, d digest.Digest) (bool, error) {
	_, err := r.retain(ctx, d)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
