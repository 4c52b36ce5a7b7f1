// Package cursor encrypts positions in lists. A page of the catalog may end at a repository that the caller must not know of, since
// the names that are read for a page are bounded; where the next page begins is therefore encrypted, for registries on the
// same storage alone.
package cursor

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

// Where the store keeps the key, for all replicas, and how many bytes it has.
const (
	keyName = "cursor-key"
	keySize = 32
)

// ErrInvalid says that something is no cursor of this storage's registries.
var ErrInvalid = errors.New("next is no position of this registry's; begin anew without it")

// Cipher encrypts and decrypts names. Its key is in the store.
type Cipher struct {
	Store *store.Store
	// ReadOnly says that a key cannot be kept: a process then reads its own cursors only.
	ReadOnly bool

	mu   sync.Mutex
	aead cipher.AEAD
}

// cipher returns the key's cipher, and makes the key where there is none.
func (c *Cipher) cipher(ctx context.Context) (cipher.AEAD, error) {
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
func (c *Cipher) key(ctx context.Context) ([]byte, error) {
	choose := func(stored []byte) ([]byte, error) {
		if len(stored) == keySize {
			return stored, nil
		}
		key := make([]byte, keySize)
		rand.Read(key) //nolint:errcheck // never fails
		return key, nil
	}
	if !c.ReadOnly {
		return c.Store.UpdatePrivate(ctx, keyName, choose)
	}
	stored, err := c.Store.ReadPrivate(ctx, keyName)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return choose(stored)
}

// Seal hides a name.
func (c *Cipher) Seal(ctx context.Context, name string) (string, error) {
	aead, err := c.cipher(ctx)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce) //nolint:errcheck // never fails
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte(name), nil)), nil
}

// Open returns the name that was hidden.
func (c *Cipher) Open(ctx context.Context, cursor string) (string, error) {
	aead, err := c.cipher(ctx)
	if err != nil {
		return "", err
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(text) < aead.NonceSize() {
		return "", ErrInvalid
	}
	name, err := aead.Open(nil, text[:aead.NonceSize()], text[aead.NonceSize():], nil)
	if err != nil {
		return "", ErrInvalid
	}
	return string(name), nil
}
