package auth

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSessions(t *testing.T) {
	h, path, _ := open(t, line(t, "ann", "secret", 4)+line(t, "bob", "secret", 4))
	now := time.Now()
	ring, _ := Keyring{}.Next(now, SessionLife)
	other, _ := Keyring{}.Next(now, SessionLife)
	sealed, err := ring.SealSession(h, "ann", now)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sealed, "ann") {
		t.Errorf("the user shows in %s", sealed)
	}
	key, ok := ring.Find(SessionKeyID(sealed))
	if !ok {
		t.Fatal("the key is not in the ring")
	}
	if user, err := key.OpenSession(h, sealed, now.Add(SessionLife-time.Second)); err != nil || user != "ann" {
		t.Fatalf("%q, %v", user, err)
	}
	denied := func(what, sealed string, at time.Time, key Key) {
		t.Helper()
		if _, err := key.OpenSession(h, sealed, at); !errors.Is(err, ErrSession) {
			t.Errorf("%s: %v", what, err)
		}
	}
	denied("too old", sealed, now.Add(SessionLife), key)
	denied("another key of the same id", sealed, now, Key{ID: key.ID, Secret: other.Keys[0].Secret})
	denied("another key", sealed, now, other.Keys[0])
	for i := range len(sealed) {
		changed := []byte(sealed)
		changed[i] ^= 1
		if _, err := key.OpenSession(h, string(changed), now); err == nil && i < len(sealed)-1 { // the last character holds bits that mean nothing
			t.Errorf("accepted with another byte at %d", i)
		}
		denied("cut", sealed[:i], now, key)
	}
	token, err := ring.Sign(h, "ann", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	denied("a token", token, now, key)
	if _, err := key.Verify(h, sealed, now); !errors.Is(err, ErrToken) {
		t.Errorf("a session is a token: %v", err)
	}
	if _, err := ring.SealSession(h, "eve", now); !errors.Is(err, ErrSession) {
		t.Errorf("a session of nobody: %v", err)
	}
	bobs, err := ring.SealSession(h, "bob", now)
	if err != nil {
		t.Fatal(err)
	}
	withoutTheLine(t, h, path, func(what string) {
		denied(what, sealed, now, key)
		if _, err := key.OpenSession(h, bobs, now); err != nil {
			t.Errorf("%s: bob's session: %v", what, err)
		}
	})
}
