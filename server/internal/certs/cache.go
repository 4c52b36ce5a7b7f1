package certs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/acme/autocert"

	"packregistry.dev/server/store"
)

// checkDir finds out now that certificates could not be kept, before any is ordered.
func checkDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cachefile: %w; it must be a directory that can be written to", err)
	}
	f, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return fmt.Errorf("cachefile: %w; it must be a directory that can be written to", err)
	}
	return errors.Join(f.Close(), os.Remove(filepath.Clean(f.Name())))
}

// storeCache keeps certificates in the registry's storage.
type storeCache struct{ s *store.Store }

const privateACME = "acme-"

func (c storeCache) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := c.s.ReadPrivate(ctx, privateACME+name)
	if errors.Is(err, store.ErrNotFound) {
		err = autocert.ErrCacheMiss
	}
	return data, err
}

func (c storeCache) Put(ctx context.Context, name string, data []byte) error {
	return c.s.WritePrivate(ctx, privateACME+name, data)
}

func (c storeCache) Delete(ctx context.Context, name string) error {
	return c.s.DeletePrivate(ctx, privateACME+name)
}
