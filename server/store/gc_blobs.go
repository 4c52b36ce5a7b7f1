package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"packregistry.dev/server/store/driver"
)

// This file is the collector at work on blob data, once every repository was read.

// eachData calls f for everything that lies where blob data does, or the marks on it: b/<alg>/<hh>/<name>.
func (s *Store) eachData(ctx context.Context, prefix string, f func(name string) error) error {
	return s.eachDataReporting(ctx, prefix, f, func(string) {})
}

// eachDataReporting is eachData that reports the keys of others' files.
func (s *Store) eachDataReporting(ctx context.Context, prefix string, f func(name string) error, stray func(key string)) error {
	return s.eachReporting(ctx, prefix, func(algorithm string) error {
		return s.eachReporting(ctx, prefix+algorithm, func(start string) error {
			return s.eachReporting(ctx, prefix+algorithm+start, func(name string) error { return f(algorithm + start + name) }, stray)
		}, stray)
	}, stray)
}

// observedMark is what is remembered of a mark as it was before any link was read. Before it is changed it is read again, and
// stays where it has another version by now.
type observedMark struct {
	// version is the hash of the record's version.
	version uint64
	// marked and tombstoned are when, in nanoseconds; 0 where it does not say so.
	marked, tombstoned int64
}

// marks are those that say something, by the hash of the key of the data.
func (c *collector) marks(ctx context.Context) (map[uint64]observedMark, error) {
	marks := map[uint64]observedMark{}
	err := c.s.eachData(ctx, marksPrefix, func(name string) error {
		m, version, err := c.s.readMark(ctx, dataPrefix+name)
		if err == nil && (m.marked() || m.tombstoned()) {
			o := observedMark{version: c.nameHash(string(version)), marked: nanoseconds(m.Marked), tombstoned: nanoseconds(m.Tombstoned)}
			marks[c.nameHash(dataPrefix+name)] = o
		}
		return err
	})
	return marks, err
}

func nanoseconds(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return t.UnixNano()
}

// currentMark reads a mark again that is about to be changed; ok is false where it is not the one that was observed.
func (c *collector) currentMark(ctx context.Context, key string, o observedMark) (m mark, version driver.Version, ok bool, err error) {
	m, version, err = c.s.readMark(ctx, key)
	if o == (observedMark{}) {
		return m, version, err == nil && !m.marked() && !m.tombstoned(), err
	}
	return m, version, err == nil && version != "" && c.nameHash(string(version)) == o.version, err
}

// sweepBlobs decides on all blob data, now that every link was read, and forgets marks on what is long gone.
func (c *collector) sweepBlobs(ctx context.Context, marks map[uint64]observedMark) error {
	there := map[uint64]struct{}{} // of those that are tombstoned
	err := c.s.eachData(ctx, dataPrefix, func(name string) error {
		key := dataPrefix + name
		if _, err := digestOf(key); err != nil {
			return nil //nolint:nilerr // not of this store, and not ours to remove
		}
		hash := c.nameHash(key)
		m := marks[hash]
		if m.tombstoned != 0 {
			there[hash] = struct{}{}
		}
		_, named := c.named[hash]
		return c.sweepData(ctx, key, m, named)
	})
	if err != nil || c.o.DryRun {
		return err
	}
	return c.forgetMarks(ctx, marks, there)
}

// forgetMarks removes marks that have said long enough that what is gone was removed.
func (c *collector) forgetMarks(ctx context.Context, marks map[uint64]observedMark, there map[uint64]struct{}) error {
	for hash, m := range marks {
		if _, is := there[hash]; is || m.tombstoned == 0 || !c.old(markedAt(m.tombstoned), forgetTombstones) {
			delete(marks, hash)
		}
	}
	if len(marks) == 0 {
		return nil
	}
	return c.s.eachData(ctx, marksPrefix, func(name string) error {
		key := dataPrefix + name
		o, old := marks[c.nameHash(key)]
		if !old {
			return nil
		}
		_, version, ok, err := c.currentMark(ctx, key, o)
		if !ok || err != nil {
			return err
		}
		_, err = c.changed(func() error { return c.s.unmark(ctx, key, version) })
		return err
	})
}

func (c *collector) sweepData(ctx context.Context, key string, o observedMark, named bool) error {
	marked := o.marked != 0 && o.tombstoned == 0
	switch {
	case o.tombstoned != 0:
		// Left by a collector that died before it removed them, or by a writer that was stopped for long.
		if named {
			return nil // a link without an owner; it is answered to nobody (pin), and is marked in time
		}
		return c.reclaim(ctx, key)
	case named && !marked:
		return nil
	case !named && marked && !c.misdated(markedAt(o.marked)) && !c.old(markedAt(o.marked), c.o.Grace):
		return nil
	}
	m, version, ok, err := c.currentMark(ctx, key, o)
	if !ok || err != nil {
		return err
	}
	switch {
	case named:
		kept, err := c.changed(func() error { return c.s.unmark(ctx, key, version) })
		c.countMark(false, kept)
		return err
	case !marked, c.misdated(m.Marked):
		next := mark{Nonce: nonce(), Marked: c.time()}
		done, err := c.changed(func() error { return c.s.d.Replace(ctx, markKey(key), mustJSON(next), version) })
		c.countMark(true, done)
		return err
	}
	if seasoned, err := c.seasoned(ctx, markKey(key), c.o.Grace); err != nil || !seasoned {
		return err
	}
	next := mark{Nonce: nonce(), Marked: m.Marked, Tombstoned: c.time()}
	won, err := c.changed(func() error { return c.s.d.Replace(ctx, markKey(key), mustJSON(next), version) })
	if err != nil || !won {
		return err
	}
	return c.reclaim(ctx, key)
}

// reclaim removes blob data that is tombstoned.
func (c *collector) reclaim(ctx context.Context, key string) error {
	info, err := c.s.d.Stat(ctx, key)
	if errors.Is(err, driver.ErrNotExist) {
		return nil
	}
	if err == nil && !c.o.DryRun {
		err = c.s.reclaim(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	c.count(func(d *Collected) { d.Blobs++; d.Bytes += info.Size })
	return nil
}
