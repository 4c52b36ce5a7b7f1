package server

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"sync"

	"packregistry.dev/server/store"
)

// A page of the catalog may end at a repository that the caller must not know of, since the names that are read for a page
// are bounded. Where the next page begins is therefore encrypted, for registries on this storage only.

// Where the store keeps the key, for all replicas, and how many bytes it has.
const (
	cursorKeyName = "cursor-key"
	cursorKeySize = 32
)

// cursors encrypts positions in lists.
type cursors struct {
	store *store.Store
	// readOnly says that a key cannot be kept: a process then reads its own cursors only.
	readOnly bool

	mu   sync.Mutex
	aead cipher.AEAD
}

// cipher returns the key's cipher, and makes the key where there is none.
func (c *cursors) cipher(ctx context.Context) (cipher.AEAD, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aead != nil {
		return c.aead, nil
	}
	key, err := c.key(ctx)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	c.aead, err = cipher.NewGCM(block)
	return c.aead, err
}

// key returns the stored key, or makes one where there is none that can be used. Of several replicas that make one at once
// the first to write wins, and the others take its key.
func (c *cursors) key(ctx context.Context) ([]byte, error) {
	choose := func(stored []byte) ([]byte, error) {
		if len(stored) == cursorKeySize {
			return stored, nil
		}
		key := make([]byte, cursorKeySize)
		rand.Read(key) //nolint:errcheck // never fails
		return key, nil
	}
	if !c.readOnly {
		return c.store.UpdatePrivate(ctx, cursorKeyName, choose)
	}
	stored, err := c.store.ReadPrivate(ctx, cursorKeyName)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return choose(stored)
}

// seal hides a name.
func (c *cursors) seal(ctx context.Context, name string) (string, error) {
	aead, err := c.cipher(ctx)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce) //nolint:errcheck // never fails
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte(name), nil)), nil
}

// open returns the name that was hidden.
func (c *cursors) open(ctx context.Context, cursor string) (string, error) {
	aead, err := c.cipher(ctx)
	if err != nil {
		return "", err
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(text) < aead.NonceSize() {
		return "", errCursor
	}
	name, err := aead.Open(nil, text[:aead.NonceSize()], text[aead.NonceSize():], nil)
	if err != nil {
		return "", errCursor
	}
	return string(name), nil
}

var errCursor = fail(codePagination, "next is no position of this registry's; begin anew without it")
