// Package tokens keeps the keys of tokens and sessions in the store, so that all replicas sign and verify with the same ones, and renews
// them. What a token or a session says, and how it is signed or sealed, is package auth's.
package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/store"
)

// keys is a keyring in the store.
type keys struct {
	store *store.Store
	log   *slog.Logger
	// name is where the store keeps them, and life how long what they sign is good.
	name string
	life time.Duration

	mu   sync.Mutex
	ring auth.Keyring
	// read is when the ring was read, or when that was tried last.
	read time.Time
}

// get returns the keyring, read again where it is older than maxAge.
func (k *keys) get(ctx context.Context, now time.Time, maxAge time.Duration) (auth.Keyring, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.ring.Keys) > 0 && now.Sub(k.read) < maxAge {
		return k.ring, nil
	}
	k.read = now
	// Others wait for the answer, so it does not end with whoever asked first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	ring, err := k.load(ctx, now)
	switch {
	case err == nil:
		k.ring = ring
	case len(k.ring.Keys) > 0:
		k.log.Error("cannot read keys again; those that were read last stay", "object", k.name, "error", err)
	default:
		return auth.Keyring{}, err
	}
	return k.ring, nil
}

// load reads the keys from the store, and adds to them what is due.
func (k *keys) load(ctx context.Context, now time.Time) (ring auth.Keyring, err error) {
	update := func(data []byte) ([]byte, error) {
		var stored auth.Keyring
		if err := json.Unmarshal(data, &stored); err != nil && data != nil {
			k.log.Error("keys are damaged; making new ones", "object", k.name)
		}
		var changed bool
		if ring, changed = stored.Next(now, k.life); !changed {
			return data, nil
		}
		return json.Marshal(ring)
	}
	if !k.store.ReadOnly {
		_, err := k.store.UpdatePrivate(ctx, k.name, update)
		return ring, err
	}
	data, err := k.store.ReadPrivate(ctx, k.name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return ring, err
	}
	// What is made up here is this process's alone.
	if errors.Is(err, store.ErrNotFound) && len(k.ring.Keys) > 0 {
		return k.ring, nil
	}
	_, err = update(data)
	return ring, err
}

// find returns the key of an id; ok is false where there is none.
func (k *keys) find(ctx context.Context, now time.Time, id string) (key auth.Key, ok bool, err error) {
	if id == "" {
		return key, false, nil
	}
	// Another replica may have made a key since; who makes ids up costs one read a second.
	for _, maxAge := range []time.Duration{auth.KeyringInterval, time.Second} {
		ring, err := k.get(ctx, now, maxAge)
		if err != nil {
			return key, false, err
		}
		if key, ok := ring.Find(id); ok {
			return key, true, nil
		}
	}
	return key, false, nil
}
