// Package tokens keeps the keys of tokens in the store, so that all replicas sign and verify with the same ones, and renews them.
// What a token says and how it is signed is package auth's.
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

// keysName is where the store keeps the keys.
const keysName = "token-keys"

// Tokens signs and verifies tokens.
type Tokens struct {
	Store *store.Store
	Users *auth.HTPasswd
	Log   *slog.Logger
	Now   func() time.Time

	mu   sync.Mutex
	ring auth.Keyring
	// read is when the ring was read, or when that was tried last.
	read time.Time
}

// keys returns the keyring, read again where it is older than maxAge.
func (t *Tokens) keys(ctx context.Context, maxAge time.Duration) (auth.Keyring, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.Now()
	if len(t.ring.Keys) > 0 && now.Sub(t.read) < maxAge {
		return t.ring, nil
	}
	t.read = now
	// Others wait for the answer, so it does not end with whoever asked first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	ring, err := t.load(ctx, now)
	switch {
	case err == nil:
		t.ring = ring
	case len(t.ring.Keys) > 0:
		t.Log.Error("cannot read the keys of tokens again; those that were read last stay", "error", err)
	default:
		return auth.Keyring{}, err
	}
	return t.ring, nil
}

// load reads the keys from the store, and adds to them what is due.
func (t *Tokens) load(ctx context.Context, now time.Time) (ring auth.Keyring, err error) {
	update := func(data []byte) ([]byte, error) {
		var stored auth.Keyring
		if err := json.Unmarshal(data, &stored); err != nil && data != nil {
			t.Log.Error("the keys of tokens are damaged; making new ones", "object", keysName)
		}
		var changed bool
		if ring, changed = stored.Next(now); !changed {
			return data, nil
		}
		return json.Marshal(ring)
	}
	if !t.Store.ReadOnly {
		_, err := t.Store.UpdatePrivate(ctx, keysName, update)
		return ring, err
	}
	data, err := t.Store.ReadPrivate(ctx, keysName)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return ring, err
	}
	// What is made up here is this process's alone.
	if errors.Is(err, store.ErrNotFound) && len(t.ring.Keys) > 0 {
		return t.ring, nil
	}
	_, err = update(data)
	return ring, err
}

// Sign makes a token of a user with rights.
func (t *Tokens) Sign(ctx context.Context, user string, scopes []auth.Scope) (string, error) {
	ring, err := t.keys(ctx, auth.KeyringInterval)
	if err != nil {
		return "", err
	}
	return ring.Sign(t.Users, user, scopes, t.Now())
}

// Verify returns what a token says, if it was signed with one of the keys and holds still. It is auth.ErrToken else.
func (t *Tokens) Verify(ctx context.Context, token string) (*auth.Token, error) {
	id := auth.KeyID(token)
	if id == "" {
		return nil, auth.ErrToken
	}
	// Another replica may have made a key since; who makes ids up costs one read a second.
	for _, maxAge := range []time.Duration{auth.KeyringInterval, time.Second} {
		ring, err := t.keys(ctx, maxAge)
		if err != nil {
			return nil, err
		}
		if key, ok := ring.Find(id); ok {
			return key.Verify(t.Users, token, t.Now())
		}
	}
	return nil, auth.ErrToken
}
