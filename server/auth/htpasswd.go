package auth

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// table is what a file of users says.
type table struct {
	hashes map[string][]byte
	// costliest is the hash that takes longest to check: every failure costs as much, so that time tells nothing.
	costliest     []byte
	costliestCost int
}

// refused is a line that can never match.
type refused struct {
	Line   int
	User   string
	Reason string
}

// parse reads lines of user:hash, as htpasswd -B writes them. Lines with other hashes are passed over and returned;
// a line that is none is an error. Of two lines for one user the first holds. Errors and reasons never carry a hash.
func parse(text []byte) (*table, []refused, error) {
	t := &table{hashes: map[string][]byte{}}
	var bad []refused
	scanner := bufio.NewScanner(bytes.NewReader(text))
	scanner.Buffer(nil, 1<<20)
	for number := 1; scanner.Scan(); number++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return nil, nil, fmt.Errorf("line %d: not of the form user:hash", number)
		}
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || !strings.HasPrefix(hash, "$2") {
			bad = append(bad, refused{number, user, kindOf(hash) + "; only bcrypt is accepted: write the line with htpasswd -B"})
			continue
		}
		if _, twice := t.hashes[user]; twice {
			bad = append(bad, refused{number, user, "this user has a line further up, which holds"})
			continue
		}
		t.hashes[user] = []byte(hash)
		if cost > t.costliestCost {
			t.costliest, t.costliestCost = []byte(hash), cost
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, nil, fmt.Errorf("after %d users: %w", len(t.hashes), err)
	}
	return t, bad, nil
}

// kindOf names a hash by its form, for a message that does not show it.
func kindOf(hash string) string {
	switch {
	case strings.HasPrefix(hash, "$apr1$"):
		return "an MD5 hash"
	case strings.HasPrefix(hash, "{SHA}"):
		return "a SHA-1 hash"
	case strings.HasPrefix(hash, "$5$"), strings.HasPrefix(hash, "$6$"):
		return "a SHA-2 crypt hash"
	case strings.HasPrefix(hash, "$2"):
		return "a damaged bcrypt hash"
	}
	return "no hash that is known (plain text or crypt)"
}

// matches checks one password. It takes as long for an unknown user as for a wrong password.
func (t *table) matches(user string, password []byte) bool {
	hash, known := t.hashes[user]
	if known {
		err := bcrypt.CompareHashAndPassword(hash, password)
		if err == nil {
			return true
		}
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) && bytes.Equal(hash, t.costliest) {
			return false
		}
		if cost, err := bcrypt.Cost(hash); err == nil && cost == t.costliestCost {
			return false
		}
	}
	if t.costliest != nil {
		bcrypt.CompareHashAndPassword(t.costliest, password) //nolint:errcheck // only its time matters
	}
	return false
}
