package tokens

import (
	"context"
	"log/slog"
	"time"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/store"
)

// Tokens signs and verifies tokens.
type Tokens struct {
	// Now is time.Now, except in tests.
	Now func() time.Time

	users *auth.HTPasswd
	keys  keys
}

// New makes the tokens of a registry's users.
func New(content *store.Store, users *auth.HTPasswd, log *slog.Logger) *Tokens {
	return &Tokens{Now: time.Now, users: users, keys: keys{store: content, log: log, name: "token-keys", life: auth.TokenLife}}
}

// Sign makes a token of a user with rights.
func (t *Tokens) Sign(ctx context.Context, user string, scopes []auth.Scope) (string, error) {
	now := t.Now()
	ring, err := t.keys.get(ctx, now, auth.KeyringInterval)
	if err != nil {
		return "", err
	}
	return ring.Sign(t.users, user, scopes, now)
}

// Verify returns what a token says, if it was signed with one of the keys and holds still. It is auth.ErrToken else.
func (t *Tokens) Verify(ctx context.Context, token string) (*auth.Token, error) {
	now := t.Now()
	key, ok, err := t.keys.find(ctx, now, auth.KeyID(token))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, auth.ErrToken
	}
	return key.Verify(t.users, token, now)
}
