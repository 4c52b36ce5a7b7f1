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

// mark is what collectors and those who refer to bytes tell each other about them. No mark means that the bytes stay.
type mark struct {
	Nonce string `json:"nonce"`
	// Condemned is when a collector found no link to the bytes.
	Condemned *time.Time `json:"condemned,omitempty"`
	// Purged is when it was settled that they go. They never come back under that key.
	Purged *time.Time `json:"purged,omitempty"`
}

func (m mark) condemned() bool { return m.Purged == nil && m.Condemned != nil }
func (m mark) purged() bool    { return m.Purged != nil }

// errPurged: the bytes under that key are gone for good. It is a kind of ErrNotFound.
var errPurged = fmt.Errorf("collected meanwhile: %w", ErrNotFound)

// markKey is the key of the mark on bytes, which lie at b/….
func markKey(bytesKey string) string { return marksPrefix + strings.TrimPrefix(bytesKey, bytesPrefix) }

// readMark returns the mark on bytes; the zero mark, without a version, where there is none.
func (s *Store) readMark(ctx context.Context, bytesKey string) (mark, driver.Version, error) {
	data, version, err := s.d.Read(ctx, markKey(bytesKey))
	if errors.Is(err, driver.ErrNotExist) {
		return mark{}, "", nil
	}
	if err != nil {
		return mark{}, "", err
	}
	var m mark
	if err := json.Unmarshal(data, &m); err != nil {
		return mark{}, "", fmt.Errorf("mark on %s: damaged: %w", bytesKey, err)
	}
	return m, version, nil
}

// settle makes bytes stay that a link was just published for, or returns errPurged. It must come after the link: a
// collector that condemned the bytes before it looked for links is overruled here, and one that condemns them later
// finds the link.
func (s *Store) settle(ctx context.Context, bytesKey string) error {
	for try := (attempts{}); ; {
		m, version, err := s.readMark(ctx, bytesKey)
		if err != nil || !m.condemned() && !m.purged() {
			return err
		}
		if m.purged() {
			return fmt.Errorf("%s: %w", bytesKey, errPurged)
		}
		if err = s.unmark(ctx, bytesKey, version); !isLostRace(err) {
			return err
		}
		if err := try.again(ctx, s, err); err != nil {
			return err
		}
	}
}

// unmark takes a mark away that is still the one that was seen.
func (s *Store) unmark(ctx context.Context, bytesKey string, version driver.Version) error {
	return s.removeUnchanged(ctx, markKey(bytesKey), mustJSON(mark{Nonce: nonce()}), version)
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

// reclaim removes bytes that are purged.
func (s *Store) reclaim(ctx context.Context, bytesKey string) error {
	if reclaimer, ok := driver.As[driver.Reclaimer](s.d); ok {
		return reclaimer.Reclaim(ctx, bytesKey)
	}
	return s.d.Delete(ctx, bytesKey)
}

// words is a bounded set of nonces of links that are settled: as long as such a link exists its bytes do, so that to
// remember it cannot go stale.
type words struct {
	mu  sync.Mutex
	set map[string]struct{}
}

const maxWords = 50_000

func (w *words) has(word string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.set[word]
	return ok
}

func (w *words) add(word string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil || len(w.set) >= maxWords {
		w.set = map[string]struct{}{}
	}
	w.set[word] = struct{}{}
}
