package tokens

import (
	"context"
	"log/slog"
	"time"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/store"
)

// Sessions seals and opens sessions of logins to the pages. Its keys are not those of tokens: who deletes them ends all sessions, and
// nothing else.
type Sessions struct {
	// Now is time.Now, except in tests.
	Now func() time.Time

	users *auth.HTPasswd
	keys  keys
}

// NewSessions makes the sessions of a registry's users.
func NewSessions(content *store.Store, users *auth.HTPasswd, log *slog.Logger) *Sessions {
	return &Sessions{Now: time.Now, users: users, keys: keys{store: content, log: log, name: "session-keys", life: auth.SessionLife}}
}

// Seal makes a session of a user.
func (s *Sessions) Seal(ctx context.Context, user string) (string, error) {
	now := s.Now()
	ring, err := s.keys.get(ctx, now, auth.KeyringInterval)
	if err != nil {
		return "", err
	}
	return ring.SealSession(s.users, user, now)
}

// Open returns the user of a session. It is auth.ErrSession where it is none, or no longer.
func (s *Sessions) Open(ctx context.Context, sealed string) (user string, err error) {
	now := s.Now()
	key, ok, err := s.keys.find(ctx, now, auth.SessionKeyID(sealed))
	if err != nil {
		return "", err
	}
	if !ok {
		return "", auth.ErrSession
	}
	return key.OpenSession(s.users, sealed, now)
}
