package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// link is the record that a blob is in a repository.
type link struct {
	// Key is where the bytes are.
	Key   string `json:"key"`
	Size  int64  `json:"size"`
	Nonce string `json:"nonce"`
}

func (r *Repository) link(ctx context.Context, d digest.Digest) (link, error) {
	data, _, err := r.s.d.Read(ctx, linkKey(r.name, d))
	if err != nil {
		return link{}, notFound(err, "blob", d)
	}
	var l link
	if err := json.Unmarshal(data, &l); err != nil {
		return link{}, fmt.Errorf("blob %s: damaged link: %w", d, err)
	}
	return l, nil
}

// StatBlob returns the size of a blob of this repository, in bytes.
func (r *Repository) StatBlob(ctx context.Context, d digest.Digest) (int64, error) {
	l, err := r.link(ctx, d)
	return l.Size, err
}

// Blob opens a blob of this repository.
func (r *Repository) Blob(ctx context.Context, d digest.Digest) (driver.Object, error) {
	l, err := r.link(ctx, d)
	if err != nil {
		return nil, err
	}
	o, err := r.s.d.Open(ctx, l.Key)
	return o, notFound(err, "blob", d)
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

// DeleteBlob takes a blob out of this repository. Other repositories keep it.
func (r *Repository) DeleteBlob(ctx context.Context, d digest.Digest) error {
	if _, err := r.link(ctx, d); err != nil {
		return err
	}
	return r.s.d.Delete(ctx, linkKey(r.name, d))
}

// MountBlob puts a blob of another repository into this one.
func (r *Repository) MountBlob(ctx context.Context, from *Repository, d digest.Digest) error {
	l, err := from.link(ctx, d)
	if err != nil {
		return err
	}
	return r.addLink(ctx, d, l.Key, l.Size)
}

func (r *Repository) addLink(ctx context.Context, d digest.Digest, key string, size int64) error {
	record := mustJSON(link{Key: key, Size: size, Nonce: nonce()})
	return ignoreExist(r.s.d.Create(ctx, linkKey(r.name, d), record, driver.Durable))
}

// PutBlob stores a small blob whose bytes are at hand.
func (r *Repository) PutBlob(ctx context.Context, content []byte) (digest.Digest, error) {
	d := digest.FromBytes(content)
	key := bytesKey(d, 0)
	if err := ignoreExist(r.s.d.Create(ctx, key, content, driver.Durable)); err != nil {
		return "", err
	}
	return d, r.addLink(ctx, d, key, int64(len(content)))
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

// HasBlob says whether a blob is in this repository.
func (r *Repository) HasBlob(ctx context.Context, d digest.Digest) (bool, error) {
	_, err := r.link(ctx, d)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
