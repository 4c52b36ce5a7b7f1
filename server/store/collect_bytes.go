package store

import (
	"context"
	"errors"
	"fmt"

	"packregistry.dev/server/store/driver"
)

// This file is the collector at work on bytes, once every repository was read.

// eachBytes calls f for everything that lies where bytes do, or their marks: b/<alg>/<hh>/<name>.
func (s *Store) eachBytes(ctx context.Context, prefix string, f func(name string) error) error {
	return s.eachBytesReporting(ctx, prefix, f, func(string) {})
}

// eachBytesReporting is eachBytes that reports the keys of others' files.
func (s *Store) eachBytesReporting(ctx context.Context, prefix string, f func(name string) error, stray func(key string)) error {
	return s.eachReporting(ctx, prefix, func(algorithm string) error {
		return s.eachReporting(ctx, prefix+algorithm, func(start string) error {
			return s.eachReporting(ctx, prefix+algorithm+start, func(name string) error { return f(algorithm + start + name) }, stray)
		}, stray)
	}, stray)
}

// observedMark is a mark as it was before any link was read.
type observedMark struct {
	mark
	version driver.Version
}

func (c *collector) marks(ctx context.Context) (map[string]observedMark, error) {
	marks := map[string]observedMark{}
	err := c.s.eachBytes(ctx, marksPrefix, func(name string) error {
		m, version, err := c.s.readMark(ctx, bytesPrefix+name)
		if err == nil && version != "" {
			marks[bytesPrefix+name] = observedMark{m, version}
		}
		return err
	})
	return marks, err
}

// bytes decides on all bytes, now that every link was read, and forgets marks on what is long gone.
func (c *collector) bytes(ctx context.Context, marks map[string]observedMark) error {
	there := map[string]bool{} // of those that are purged
	err := c.s.eachBytes(ctx, bytesPrefix, func(name string) error {
		key := bytesPrefix + name
		if _, err := digestOf(key); err != nil {
			return nil //nolint:nilerr // not of this store, and not ours to remove
		}
		m := marks[key]
		if m.purged() {
			there[key] = true
		}
		_, named := c.named[c.nameHash(key)]
		return c.oneBytes(ctx, key, m, named)
	})
	if err != nil || c.o.DryRun {
		return err
	}
	for key, m := range marks {
		if !there[key] && m.purged() && c.old(m.Purged, forgetPurged) {
			if _, err := c.changed(func() error { return c.s.unmark(ctx, key, m.version) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *collector) oneBytes(ctx context.Context, key string, m observedMark, named bool) error {
	switch {
	case m.purged():
		// Left by a collector that died before it removed them, or by a writer that was stopped for long.
		if named {
			return nil // a link without an owner; nobody is told that it exists (settle), and it is condemned in its turn
		}
		return c.reclaim(ctx, key)
	case named && m.condemned():
		kept, err := c.changed(func() error { return c.s.unmark(ctx, key, m.version) })
		if kept {
			c.count(func(d *Collected) { d.Kept++ })
		}
		return err
	case named:
		return nil
	case !m.condemned(), c.misdated(m.Condemned):
		next := mark{Nonce: nonce(), Condemned: c.time()}
		done, err := c.changed(func() error { return c.s.d.Replace(ctx, markKey(key), mustJSON(next), m.version) })
		if done {
			c.count(func(d *Collected) { d.Condemned++ })
		}
		return err
	case !c.old(m.Condemned, c.o.Grace):
		return nil
	}
	if seasoned, err := c.seasoned(ctx, markKey(key), c.o.Grace); err != nil || !seasoned {
		return err
	}
	next := mark{Nonce: nonce(), Condemned: m.Condemned, Purged: c.time()}
	won, err := c.changed(func() error { return c.s.d.Replace(ctx, markKey(key), mustJSON(next), m.version) })
	if err != nil || !won {
		return err
	}
	return c.reclaim(ctx, key)
}

// reclaim removes bytes that are purged.
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
