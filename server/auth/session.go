package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// A session is what a browser keeps of a login to the pages: a cookie, sealed with a key that only the registry's replicas know.
//
//	prs1.<key's id>.<nonce and AES-256-GCM of the claims, JSON, in base64url>
//
// Like a token it carries a keyed hash of the user's line in the users' file, and ends with the line: when the password changes, and
// when the user goes.

// SessionLife is how long a session is good.
const SessionLife = 12 * time.Hour

const sessionVersion = "prs1"

// ErrSession is returned for every session that is no good, whatever is wrong with it.
var ErrSession = errors.New("the session is not valid, or no longer")

type session struct {
	User string `json:"u"`
	// Line is the keyed hash of the user's line.
	Line    []byte `json:"l"`
	Expires int64  `json:"e"`
}

// cipher seals sessions. Its key is derived, since the ring's keys make MACs of other things too.
func (key Key) cipher() (cipher.AEAD, error) {
	block, err := aes.NewCipher(key.mac("session", ""))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// SealSession makes a session of a user of h. It returns ErrSession where the user is gone.
func (k Keyring) SealSession(h *HTPasswd, user string, now time.Time) (string, error) {
	key := k.signing(now)
	line, ok := h.lineHash(key, user)
	if !ok {
		return "", ErrSession
	}
	claims, err := json.Marshal(session{user, line, now.Add(SessionLife).Unix()})
	if err != nil {
		return "", err
	}
	aead, err := key.cipher()
	if err != nil {
		return "", err
	}
	head := sessionVersion + "." + key.ID
	return head + "." + base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, claims, []byte(head))), nil
}

// SessionKeyID returns the id of the key that a session says it was sealed with.
func SessionKeyID(sealed string) string {
	parts := strings.Split(sealed, ".")
	if len(parts) != 3 || parts[0] != sessionVersion {
		return ""
	}
	return parts[1]
}

// OpenSession returns the user of a session that key sealed, which is good now, and whose user still has the line that it had then.
func (key Key) OpenSession(h *HTPasswd, sealed string, now time.Time) (user string, err error) {
	last := strings.LastIndexByte(sealed, '.')
	if last < 0 || SessionKeyID(sealed) != key.ID {
		return "", ErrSession
	}
	text, err := base64.RawURLEncoding.DecodeString(sealed[last+1:])
	if err != nil {
		return "", ErrSession
	}
	aead, err := key.cipher()
	if err != nil {
		return "", err
	}
	claims, err := aead.Open(nil, nil, text, []byte(sealed[:last]))
	var s session
	if err != nil || json.Unmarshal(claims, &s) != nil || now.Unix() >= s.Expires {
		return "", ErrSession
	}
	if line, ok := h.lineHash(key, s.User); !ok || !hmac.Equal(line, s.Line) {
		return "", ErrSession
	}
	return s.User, nil
}
