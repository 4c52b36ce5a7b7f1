package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"packregistry.dev/server/store/driver"
)

// mark is what collectors, and those who refer to blob data, record of it for each other. No mark means that the data stays.
type mark struct {
	Nonce string `json:"nonce"`
	// Marked is when a collector found no link to the data.
	Marked *time.Time `json:"condemned,omitempty"`
	// Tombstoned is when it was decided that it goes. It never comes back under that key.
	Tombstoned *time.Time `json:"purged,omitempty"`
}

func (m mark) marked() bool     { return m.Tombstoned == nil && m.Marked != nil }
func (m mark) tombstoned() bool { return m.Tombstoned != nil }

// errTombstoned: the data under that key is gone for good. It is a kind of ErrNotFound.
var errTombstoned = fmt.Errorf("collected meanwhile: %w", ErrNotFound)

// markKey is the key of the mark on blob data, which lies at b/….
func markKey(dataKey string) string { return marksPrefix + strings.TrimPrefix(dataKey, dataPrefix) }

// readMark returns the mark on blob data; the zero mark, without a version, where there is none.
func (s *Store) readMark(ctx context.Context, dataKey string) (mark, driver.Version, error) {
	data, version, err := s.d.Read(ctx, markKey(dataKey))
	if errors.Is(err, driver.ErrNotExist) {
		return mark{}, "", nil
	}
	if err != nil {
		return mark{}, "", err
	}
	var m mark
	if err := json.Unmarshal(data, &m); err != nil {
		return mark{}, "", fmt.Errorf("mark on %s: damaged: %w", dataKey, err)
	}
	return m, version, nil
}

// pin makes blob data stay that a link was just published for, or returns errTombstoned. It must come after the link: a
// collector that marked the data before it looked for links is overruled here, and one that marks it later
// finds the link.
func (s *Store) pin(ctx context.Context, dataKey string) error {
	for try := (attempts{}); ; {
		m, version, err := s.readMark(ctx, dataKey)
		if err != nil || !m.marked() && !m.tombstoned() {
			return err
		}
		if m.tombstoned() {
			return fmt.Errorf("%s: %w", dataKey, errTombstoned)
		}
		if err = s.unmark(ctx, dataKey, version); !isLostRace(err) {
			return err
		}
		if err := try.again(ctx, s, err); err != nil {
			return err
		}
	}
}

// unmark takes a mark away that is still the one that was seen.
func (s *Store) unmark(ctx context.Context, dataKey string, version driver.Version) error {
	return s.removeUnchanged(ctx, markKey(dataKey), mustJSON(mark{Nonce: nonce()}), version)
}

// removeUnchanged deletes an object that is still the one that was seen or, where the storage cannot delete on a condition,
// replaces it by a tombstone.
func (s *Store) removeUnchanged(ctx context.Context, key string, tombstone []byte, version driver.Version) error {
	err := s.d.DeleteUnchanged(ctx, key, version)
	if errors.Is(err, errors.ErrUnsupported) {
		err = s.d.Replace(ctx, key, tombstone, version)
	}
	return err
}

// reclaim removes blob data that is tombstoned.
func (s *Store) reclaim(ctx context.Context, dataKey string) error {
	if reclaimer, ok := driver.As[driver.Reclaimer](s.d); ok {
		return reclaimer.Reclaim(ctx, dataKey)
	}
	return s.d.Delete(ctx, dataKey)
}

// nonceSet is a bounded set of nonces of links that are pinned: as long as such a link exists its data does, so that to
// remember it cannot go stale.
type nonceSet struct {
	mu  sync.Mutex
	set map[string]struct{}
}

const maxPinned = 50_000

func (w *nonceSet) has(nonce string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.set[nonce]
	return ok
}

func (w *nonceSet) add(nonce string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil || len(w.set) >= maxPinned {
		w.set = map[string]struct{}{}
	}
	w.set[nonce] = struct{}{}
}
