package auth

import (
	"encoding/base64"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/server/config"
)

func TestTokens(t *testing.T) {
	h, path, _ := open(t, line(t, "ann", "secret", 4)+line(t, "bob", "secret", 4))
	now := time.Now()
	ring, _ := Keyring{}.Next(now, TokenLife)
	other, _ := Keyring{}.Next(now, TokenLife)
	scopes := []Scope{{"repository", "a/b", []string{"pull", "push"}}}
	token, err := ring.Sign(h, "ann", scopes, now)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := ring.Find(KeyID(token))
	if !ok {
		t.Fatal("the key is not in the ring")
	}
	got, err := key.Verify(h, token, now.Add(TokenLife-time.Second))
	if err != nil || got.User != "ann" || !reflect.DeepEqual(got.Scopes, scopes) {
		t.Fatalf("%+v, %v", got, err)
	}
	if !got.Allows("repository", "a/b", "push") || got.Allows("repository", "a/b", "delete") || got.Allows("repository", "a/c", "pull") || got.Allows("registry", "a/b", "pull") {
		t.Error("the scope is not what was asked for")
	}
	nobody, err := ring.Sign(h, "", scopes, now)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := key.Verify(h, nobody, now); err != nil || got.User != "" {
		t.Errorf("nobody's: %+v, %v", got, err)
	}
	denied := func(what, token string, at time.Time, key Key) {
		t.Helper()
		if _, err := key.Verify(h, token, at); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	denied("too old", token, now.Add(TokenLife), key)
	denied("another key of the same id", token, now, Key{ID: key.ID, Secret: other.Keys[0].Secret})
	denied("another key", token, now, other.Keys[0])
	parts := strings.Split(token, ".")
	claims, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !strings.Contains(string(claims), `"u":"ann"`) {
		t.Fatalf("%s, %v", claims, err)
	}
	parts[2] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(claims), `"u":"ann"`, `"u":"bob"`, 1)))
	denied("somebody else's claims", strings.Join(parts, "."), now, key)
	for i := range len(token) {
		changed := []byte(token)
		changed[i] ^= 1
		if _, err := key.Verify(h, string(changed), now); err == nil && i < len(token)-1 { // the last character holds bits that mean nothing
			t.Errorf("accepted with another byte at %d", i)
		}
		denied("cut off", token[:i], now, key)
	}
	if _, err := ring.Sign(h, "eve", nil, now); !errors.Is(err, ErrToken) {
		t.Errorf("a token for nobody's name: %v", err)
	}

	// A token ends with the line that it was given for; others stay.
	bobs, err := ring.Sign(h, "bob", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	withoutTheLine(t, h, path, func(what string) {
		denied(what, token, now, key)
		if _, err := key.Verify(h, bobs, now); err != nil {
			t.Errorf("%s: bob's token: %v", what, err)
		}
	})
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Keys change so that at every moment all replicas, which read them every KeyringInterval, know every key in use.
func TestKeysRotate(t *testing.T) {
	h, _, _ := open(t, line(t, "ann", "secret", 4))
	now := time.Now()
	ring, changed := Keyring{}.Next(now, TokenLife)
	if !changed || len(ring.Keys) != 1 {
		t.Fatalf("%+v", ring.Keys)
	}
	signers := map[string]bool{}
	replica := ring // what another replica read last
	for at := now; at.Before(now.Add(100 * 24 * time.Hour)); at = at.Add(KeyringInterval) {
		ring, _ = ring.Next(at, TokenLife)
		token, err := ring.Sign(h, "ann", nil, at)
		if err != nil {
			t.Fatal(err)
		}
		signers[KeyID(token)] = true
		if _, ok := replica.Find(KeyID(token)); !ok {
			t.Fatalf("after %v a replica does not know the key", at.Sub(now))
		}
		replica = ring
		if len(ring.Keys) > 2 {
			t.Fatalf("%d keys", len(ring.Keys))
		}
		if again, changed := ring.Next(at, TokenLife); changed || !reflect.DeepEqual(again, ring) {
			t.Fatal("a second look changes the keys")
		}
	}
	if len(signers) != 4 {
		t.Errorf("%d keys signed in 100 days", len(signers))
	}
	if mended, changed := (Keyring{[]Key{{ID: "x", Secret: []byte("short")}}}).Next(now, TokenLife); !changed || len(mended.Keys) != 1 || len(mended.Keys[0].Secret) != 32 {
		t.Errorf("a key that is too short stays: %+v", mended)
	}
}

func TestScopes(t *testing.T) {
	p := NewPolicy(config.Access{
		ReadOnlyUsers: config.StringList{"ro"},
		Rules: []config.AccessRule{
			{Users: config.StringList{"ann", "ro"}, Repositories: config.StringList{"a/**"}, Actions: config.StringList{"pull", "push"}},
			{Anonymous: true, Repositories: config.StringList{"public/*"}, Actions: config.StringList{"pull"}},
		},
	})
	for _, tt := range []struct {
		user, asked string
		want        []Scope
	}{
		{"ann", "repository:a/b:pull,push", []Scope{{"repository", "a/b", []string{"pull", "push"}}}},
		{"ann", "repository:a/b:*", []Scope{{"repository", "a/b", []string{"pull", "push"}}}},
		{"ann", "repository:a/b:delete", nil},
		{"ann", "repository:c:pull repository:public/x:pull,push", []Scope{{"repository", "public/x", []string{"pull"}}}},
		{"ann", "repository(plugin):a/b:pull", []Scope{{"repository", "a/b", []string{"pull"}}}},
		{"ro", "repository:a/b:pull,push", []Scope{{"repository", "a/b", []string{"pull"}}}},
		{"", "repository:public/x:pull,push registry:catalog:*", []Scope{{"repository", "public/x", []string{"pull"}}, {"registry", "catalog", []string{"*"}}}},
		{"", "repository:a/b:pull", nil},
		{"ann", "x repository repository: repository:a/b other:a:b registry:x:* :: :a:pull", nil},
	} {
		if got := p.Grant(tt.user, ParseScopes([]string{tt.asked})); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q asks for %q: %v, want %v", tt.user, tt.asked, got, tt.want)
		}
	}
	if got := ParseScopes([]string{strings.Repeat("repository:a/b:pull ", 1000)}); len(got) > 20 {
		t.Errorf("%d scopes", len(got))
	}
}

func FuzzVerify(f *testing.F) {
	h, _, _ := open(f, "ann:$2y$04$abcdefghijklmnopqrstuu5r9lB6uJ1c1x6sB0Q2P8zE1kE9b9b9b\n")
	now := time.Now()
	ring, _ := Keyring{}.Next(now, TokenLife)
	token, err := ring.Sign(h, "", nil, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("prt1..e30.")
	f.Add("....")
	f.Add(strings.Repeat("repository:a:"+strings.Repeat("pull,", 100)+" ", 50))
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := ring.Keys[0].Verify(h, text, now); err == nil && (KeyID(text) != ring.Keys[0].ID || got.User != "") {
			t.Errorf("accepted %q", text)
		}
		testfuzz.Proportionate(t, len(text), func() {
			ParseScopes([]string{text})
			ring.Keys[0].Verify(h, text, now) //nolint:errcheck // whatever it says
		})
	})
}

// withoutTheLine ends ann's line in the users' file in each way that a line ends, keeps the next one, and lets check see what holds then.
func withoutTheLine(t *testing.T, h *HTPasswd, path string, check func(what string)) {
	t.Helper()
	kept := strings.SplitAfter(readFile(t, path), "\n")[1]
	for what, text := range map[string]string{"another password": line(t, "ann", "changed", 4) + kept, "the same password anew": line(t, "ann", "secret", 4) + kept, "removed": kept} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := h.load(); err != nil {
			t.Fatal(err)
		}
		check(what)
	}
}
