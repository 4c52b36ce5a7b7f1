package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// Tokens are what the distribution token flow gives to clients instead of a challenge for a password: good for some
// minutes and for what they were asked for. They are read by this server alone, so they are no JWTs, whose header would let
// a client say how they are to be verified: there is one way, HMAC-SHA256 with a key that only the registry's replicas know.
//
//	prt1.<key's id>.<claims, JSON in base64url>.<MAC of all before, in base64url>
//
// A user's token carries a keyed hash of the user's line in the users' file: it ends with the line.

// TokenLife is how long a token is good.
const TokenLife = 5 * time.Minute

const tokenVersion = "prt1"

// ErrToken is returned for every token that is no good, whatever is wrong with it.
var ErrToken = errors.New("the token is not valid, or no longer")

// Token is what a token says.
type Token struct {
	// User is empty for a token of somebody without a credential.
	User string `json:"u,omitempty"`
	// Line is the keyed hash of the user's line.
	Line    []byte  `json:"l,omitempty"`
	Expires int64   `json:"e"`
	Scopes  []Scope `json:"s,omitempty"`
}

// Scope is what a token may be used for, as clients ask for it: repository:<name>:pull,push or registry:catalog:*.
type Scope struct {
	Type    string   `json:"t"`
	Name    string   `json:"n"`
	Actions []string `json:"a"`
}

// Allows says whether a token is good for an action.
func (t *Token) Allows(scopeType, name, action string) bool {
	return slices.ContainsFunc(t.Scopes, func(s Scope) bool {
		return s.Type == scopeType && s.Name == name && slices.Contains(s.Actions, action)
	})
}

// ParseScopes reads what a client asks for. What is none of the forms that are known is passed over, as the specification
// has it; so is what comes after the first maxScopes.
func ParseScopes(asked []string) []Scope {
	const maxScopes = 20
	var scopes []Scope
	for _, list := range asked {
		for word := range strings.FieldsSeq(list) {
			kind, rest, ok := strings.Cut(word, ":")
			colon := strings.LastIndexByte(rest, ':')
			if !ok || colon < 1 || len(scopes) == maxScopes {
				continue
			}
			kind, _, _ = strings.Cut(kind, "(") // repository(plugin), of Docker's plugins
			scopes = append(scopes, Scope{kind, rest[:colon], strings.Split(rest[colon+1:], ",")})
		}
	}
	return scopes
}

// Grant returns the part of some scopes that a user has a right to.
func (p *Policy) Grant(user string, asked []Scope) []Scope {
	var granted []Scope
	for _, s := range asked {
		switch {
		case s.Type == "registry" && s.Name == "catalog" && (user != "" || p.Anonymous()):
			granted = append(granted, Scope{s.Type, s.Name, []string{"*"}})
		case s.Type == "repository":
			var actions []string
			for _, a := range []Action{Pull, Push, Delete} {
				if (slices.Contains(s.Actions, string(a)) || slices.Contains(s.Actions, "*")) && p.Allows(user, a, s.Name) {
					actions = append(actions, string(a))
				}
			}
			if len(actions) > 0 {
				granted = append(granted, Scope{s.Type, s.Name, actions})
			}
		}
	}
	return granted
}

// Times of keys. A new key is known to all replicas, which read the keys every keyring interval, before it signs.
const (
	keyLife     = 30 * 24 * time.Hour
	keyAnnounce = 15 * time.Minute
	// KeyringInterval is how often the keys are read again.
	KeyringInterval = 5 * time.Minute
)

// Key signs tokens, or seals sessions.
type Key struct {
	ID     string `json:"id"`
	Secret []byte `json:"secret"`
	// From is when it begins to sign.
	From time.Time `json:"from"`
}

// Keyring is the keys that are good, the oldest first.
type Keyring struct {
	Keys []Key `json:"keys"`
}

func newKey(from time.Time) Key {
	random := make([]byte, 36)
	rand.Read(random) //nolint:errcheck // never fails
	return Key{hex.EncodeToString(random[:4]), random[4:], from.UTC()}
}

// Next is the keyring as it should be now, and whether that differs: a new key comes before the newest has become old, and
// one goes that nothing in use can be of, which is good for life.
func (k Keyring) Next(now time.Time, life time.Duration) (Keyring, bool) {
	keys := slices.DeleteFunc(slices.Clone(k.Keys), func(key Key) bool { return len(key.Secret) < 32 || key.ID == "" })
	switch {
	case len(keys) == 0:
		keys = append(keys, newKey(now))
	case now.Sub(keys[len(keys)-1].From) > keyLife:
		keys = append(keys, newKey(now.Add(keyAnnounce)))
	}
	for len(keys) > 1 && now.Sub(keys[1].From) > 2*life+keyAnnounce {
		keys = keys[1:]
	}
	return Keyring{keys}, !slices.EqualFunc(keys, k.Keys, func(a, b Key) bool { return a.ID == b.ID })
}

// signing is the newest key that all replicas know.
func (k Keyring) signing(now time.Time) Key {
	for _, key := range slices.Backward(k.Keys) {
		if !key.From.After(now) {
			return key
		}
	}
	return k.Keys[0] // the clock of whoever made it is ahead
}

// Find returns the key of an id.
func (k Keyring) Find(id string) (Key, bool) {
	i := slices.IndexFunc(k.Keys, func(key Key) bool { return key.ID == id })
	if i < 0 {
		return Key{}, false
	}
	return k.Keys[i], true
}

func (key Key) mac(purpose, text string) []byte {
	mac := hmac.New(sha256.New, key.Secret)
	mac.Write([]byte(purpose + "\n" + text))
	return mac.Sum(nil)
}

// Sign makes a token for a user of h, or for nobody where user is empty. It returns ErrToken where the user is gone.
func (k Keyring) Sign(h *HTPasswd, user string, scopes []Scope, now time.Time) (string, error) {
	key := k.signing(now)
	t := Token{User: user, Expires: now.Add(TokenLife).Unix(), Scopes: scopes}
	if user != "" {
		line, ok := h.lineHash(key, user)
		if !ok {
			return "", ErrToken
		}
		t.Line = line
	}
	claims, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	text := tokenVersion + "." + key.ID + "." + base64.RawURLEncoding.EncodeToString(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(key.mac("token", text)), nil
}

// KeyID returns the id of the key that a token says it was signed with.
func KeyID(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 4 || parts[0] != tokenVersion {
		return ""
	}
	return parts[1]
}

// Verify reads a token that key signed, which is good now, and whose user still has the line that it had then.
func (key Key) Verify(h *HTPasswd, token string, now time.Time) (*Token, error) {
	last := strings.LastIndexByte(token, '.')
	if last < 0 || KeyID(token) != key.ID {
		return nil, ErrToken
	}
	sum, err := base64.RawURLEncoding.DecodeString(token[last+1:])
	if err != nil || !hmac.Equal(sum, key.mac("token", token[:last])) {
		return nil, ErrToken
	}
	claims, err := base64.RawURLEncoding.DecodeString(token[len(tokenVersion)+len(key.ID)+2 : last])
	var t Token
	if err != nil || json.Unmarshal(claims, &t) != nil || now.Unix() >= t.Expires {
		return nil, ErrToken
	}
	if t.User == "" {
		return &t, nil
	}
	if line, ok := h.lineHash(key, t.User); !ok || !hmac.Equal(line, t.Line) {
		return nil, ErrToken
	}
	return &t, nil
}

// lineHash is the keyed hash of a user's line. It says nothing about the line to who lacks the key.
func (h *HTPasswd) lineHash(key Key, user string) ([]byte, bool) {
	e, ok := h.state.Load().table.hashes[user]
	if !ok {
		return nil, false
	}
	return key.mac("line", user+":"+e.hash)[:16], true
}
