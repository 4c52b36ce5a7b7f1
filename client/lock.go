package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Lock says what a registry has: the digests of each pack's content. A registry keeps content by repository, so that what it
// has of one pack it need not have of another.
type Lock struct {
	Packs map[string][]digest.Digest `json:"packs"`

	known map[string]bool
}

func (l *Lock) add(name string, d digest.Digest) {
	if l.has(name, d) {
		return
	}
	if l.known == nil {
		l.known = map[string]bool{}
	}
	if l.Packs == nil {
		l.Packs = map[string][]digest.Digest{}
	}
	l.known[name+" "+d.String()] = true
	l.Packs[name] = append(l.Packs[name], d)
}

func (l *Lock) has(name string, d digest.Digest) bool { return l.known[name+" "+d.String()] }

// sort puts the digests in order, so that equal locks are equal files.
func (l *Lock) sort() {
	for _, digests := range l.Packs {
		slices.Sort(digests)
	}
}

// ReadLocks reads the locks that loads printed, as one.
func ReadLocks(files []string) (Lock, error) {
	all := Lock{Packs: map[string][]digest.Digest{}}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return all, err
		}
		var one Lock
		if err := json.Unmarshal(text, &one); err != nil || one.Packs == nil {
			return all, fmt.Errorf("%s: %w; name a file that `packctl pack load` printed", file, errors.Join(errors.New("not a lock"), err))
		}
		for name, digests := range one.Packs {
			for _, d := range digests {
				if err := d.Validate(); err != nil {
					return all, fmt.Errorf("%s: pack %s: %.100q: %w", file, name, d, err)
				}
				all.add(name, d)
			}
		}
	}
	return all, nil
}
