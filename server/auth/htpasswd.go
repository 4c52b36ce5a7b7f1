package auth

import (
	"strings"

	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/internal/htpasswd"
)

// table is what a file of users says.
type table struct {
	hashes map[string]entry
	// filler is a hash of the file: failures are filled up to the highest cost with it.
	filler string
	// highest is the highest cost of the file, which every failure pays.
	highest  int
	unusable []htpasswd.Unusable
	// compare is bcrypt's comparison; tests count its work.
	compare func(hash, password []byte) error
}

type entry struct {
	hash string
	cost int
}

func newTable(f *htpasswd.File) *table {
	t := &table{hashes: make(map[string]entry, len(f.Entries)), unusable: f.Unusable, compare: bcrypt.CompareHashAndPassword}
	for _, e := range f.Entries {
		t.hashes[e.User] = entry{e.Hash, e.Cost}
		if e.Cost > t.highest {
			t.filler, t.highest = e.Hash, e.Cost
		}
	}
	return t
}

// matches checks one password. Every failure takes the work of the file's highest cost, whether the user is unknown or the
// password wrong, and whatever the user's own hash costs. A hash of cost c takes 2^c rounds, so the computations of c,
// c+1, … highest-1 after one of c make 2^highest. Other spellings of a password (htpasswd.CheckPassword) are wrong too.
func (t *table) matches(user string, password []byte) bool {
	if len(t.hashes) == 0 {
		return false
	}
	e, known := t.hashes[user]
	if !known || htpasswd.CheckPassword(password) != nil {
		t.burn(password, t.highest)
		return false
	}
	if t.compare([]byte(e.hash), password) == nil {
		return true
	}
	for cost := e.cost; cost < t.highest; cost++ {
		t.burn(password, cost)
	}
	return false
}

// burn does the work of comparing with a hash of a cost.
func (t *table) burn(password []byte, cost int) {
	version, rest, _ := strings.Cut(t.filler[1:], "$")
	hash := []byte("$" + version + "$" + rest)
	at := len(version) + 2
	hash[at], hash[at+1] = byte('0'+cost/10), byte('0'+cost%10)
	t.compare(hash, password) //nolint:errcheck // only its work matters
}
