package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"syscall"
	"time"

	"packregistry.dev/server/store/driver"
)

// This file is the collector: it removes what nothing refers to, while everything else goes on.
//
// A thing goes in two steps, in two different collections. The first finds that nothing refers to it and marks it for
// deletion, by changing its record. The second, at least a grace period later, looks for references once more, and removes it only if
// its record is still the one that it saw before it looked. Whoever begins to refer to a thing (a tag or an index to a
// manifest, a manifest to a blob, a link to blob data) publishes the reference first and looks at the record after: where it
// is marked it is changed back. So of the two one comes first and the other notices, however long either of them was
// stopped at any instruction, and however many collectors run:
//
//   - a reference that was published before the second look is seen by it;
//   - one that was published after it finds the thing marked, and changes its record, which makes the removal fail;
//     or finds that it is gone, and says so to its client.
//
// Manifests and links are marked in their own records. Blob data cannot be changed, so a mark lies beside it, and the
// name that it was tombstoned under is never used again (keys.go: the generation).

// Collection says what to collect.
type Collection struct {
	// Grace is how long a blob must have been marked for deletion, and KeepUntagged a manifest, to be removed.
	Grace, KeepUntagged time.Duration
	// DryRun changes nothing.
	DryRun bool
}

// Collected is what a collection did or, on a dry run, would have done.
type Collected struct {
	Repositories int `json:"repositories"`
	// Marked counts things that are garbage, and will go with a later collection.
	Marked int `json:"marked"`
	// Kept counts things that were marked and are referred to again.
	Kept int `json:"kept"`
	// Manifests, Links (of blobs to repositories) and Blobs (their data) were removed, and so many Bytes with the last.
	Manifests int   `json:"manifests"`
	Links     int   `json:"links"`
	Blobs     int   `json:"blobs"`
	Bytes     int64 `json:"bytes"`
}

// parallel is how many objects are read at once.
const parallel = 8

// forgetTombstones is how long it is remembered that blob data was removed: longer than any process is stopped.
const forgetTombstones = 7 * 24 * time.Hour

// collector is one collection under way.
type collector struct {
	s *Store
	o Collection
	// now is the storage's time when the collection began, and began the process's. Ages are measured up to that time:
	// references are read after it, so that what is old enough was old enough when they were looked for.
	now, began time.Time

	seed  maphash.Seed
	mu    sync.Mutex
	done  Collected
	named map[uint64]struct{}
	// full is why something could not be written: the storage had no space left.
	full error
}

// Collect removes what nothing refers to. Any number of collections may run at once, on any number of processes.
func (s *Store) Collect(ctx context.Context, o Collection) (Collected, error) {
	ctx = driver.WithReserve(ctx)
	c := &collector{s: s, o: o, began: s.now(), seed: maphash.MakeSeed(), named: map[uint64]struct{}{}}
	var err error
	if c.now, err = s.clock(ctx, o.DryRun); err != nil {
		return Collected{}, err
	}
	// Marks are looked at before the links that could speak against them.
	marks, err := c.marks(ctx)
	if err != nil {
		return c.done, err
	}
	seen := map[uint64]struct{}{}
	var damaged error
	err = s.each(ctx, repositoriesPrefix, func(name string) error {
		c.done.Repositories++
		name = strings.TrimSuffix(name, "/")
		seen[c.nameHash(name)] = struct{}{}
		err := c.repository(ctx, s.Repository(unescape(name)))
		if errors.Is(err, ErrDamaged) {
			// Nobody knows what that repository refers to: it stays as it is, and so does all blob data. The others go on.
			damaged = errors.Join(damaged, err)
			return nil
		}
		return err
	})
	if err != nil {
		return c.done, err
	}
	// Entries of repositories that hold nothing at all.
	err = s.each(ctx, catalogPrefix, func(name string) error {
		if _, is := seen[c.nameHash(name)]; is {
			return nil
		}
		return c.catalog(ctx, s.Repository(unescape(name)))
	})
	if err != nil {
		return c.done, err
	}
	if damaged != nil {
		return c.done, fmt.Errorf("no blob data was removed, since some of what refers to them cannot be read (see registry verify): %w", damaged)
	}
	if err := c.sweepBlobs(ctx, marks); err != nil {
		return c.done, err
	}
	if c.full != nil {
		return c.done, fmt.Errorf("not everything could be marked for deletion, since the storage is full; the next collection goes on: %w", c.full)
	}
	return c.done, nil
}

// CollectionDue says whether the last collection began so long ago, and if so notes that one begins now: of several
// processes that ask, one collects. That saves work; it is not what makes collecting safe.
func (s *Store) CollectionDue(ctx context.Context, interval time.Duration) (bool, error) {
	ctx = driver.WithReserve(ctx)
	now, err := s.clock(ctx, false)
	if err != nil {
		return false, err
	}
	var last struct {
		Began time.Time `json:"began"`
		Nonce string    `json:"nonce"`
	}
	data, version, err := s.d.Read(ctx, collectionKey)
	switch {
	case errors.Is(err, driver.ErrNotExist):
		// A new store has no garbage yet: its first collection is an interval from now.
		last.Began, last.Nonce = now, nonce()
		err = s.d.Replace(ctx, collectionKey, mustJSON(last), "")
		if isLostRace(err) {
			err = nil
		}
		return false, err
	case err != nil:
		return false, err
	}
	if json.Unmarshal(data, &last) == nil && now.Sub(last.Began) < interval && !last.Began.After(now.Add(maxAhead)) {
		return false, nil
	}
	last.Began, last.Nonce = now, nonce()
	err = s.d.Replace(ctx, collectionKey, mustJSON(last), version)
	if isLostRace(err) {
		return false, nil
	}
	return err == nil, err
}

// clock is the storage's own time, so that ages do not depend on whose clock is right. The object that is written for it is
// empty: that is possible on a volume without a byte left.
func (s *Store) clock(ctx context.Context, dryRun bool) (time.Time, error) {
	if dryRun {
		return s.now().UTC(), nil
	}
	key := privateKey("clock")
	for try := (attempts{}); ; {
		if err := s.d.Delete(ctx, key); err != nil {
			return time.Time{}, err
		}
		// Where another was faster its object is as new.
		if err := ignoreExist(s.d.Create(ctx, key, nil, driver.Relaxed)); err != nil {
			return time.Time{}, err
		}
		info, err := s.d.Stat(ctx, key)
		if !errors.Is(err, driver.ErrNotExist) {
			return info.ModTime.UTC(), err
		}
		if err := try.again(ctx, s, err); err != nil {
			return time.Time{}, err
		}
	}
}

// time is the storage's time at this moment. It is written where something is marked, so that the grace period begins when it
// was seen that nothing refers to it, and not when the collection began.
func (c *collector) time() *time.Time {
	now := roundUp(c.now).Add(c.s.now().Sub(c.began)).UTC()
	return &now
}

// roundUp returns the latest time that a storage may have meant that has whole seconds only, as S3 does.
func roundUp(t time.Time) time.Time {
	if t.Nanosecond() == 0 {
		return t.Add(time.Second)
	}
	return t
}

// nameHash is what is remembered of the key of a blob's data that a link names.
func (c *collector) nameHash(key string) uint64 { return maphash.String(c.seed, key) }

// old says whether something was marked long enough ago.
func (c *collector) old(marked *time.Time, limit time.Duration) bool {
	return marked != nil && (limit <= 0 || c.now.Sub(*marked) >= limit)
}

// seasoned says whether a record that is marked was written long enough ago, by the storage's clock: the collector that
// marked it may have been stopped between looking at the time and writing.
func (c *collector) seasoned(ctx context.Context, key string, limit time.Duration) (bool, error) {
	if limit <= 0 {
		return true, nil
	}
	info, err := c.s.d.Stat(ctx, key)
	if errors.Is(err, driver.ErrNotExist) {
		return false, nil
	}
	return err == nil && c.now.Sub(roundUp(info.ModTime)) >= limit, err
}

// misdated says that something was marked in what is the future by now: the clock was wrong. It is marked once more,
// or it would stay as long as the clock was ahead.
func (c *collector) misdated(marked *time.Time) bool {
	return marked != nil && marked.After(c.now.Add(maxAhead))
}

// count notes a change that was made, or would have been.
func (c *collector) count(f func(*Collected)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.done)
}

// changed says whether a change was made: not on a dry run, and not where somebody was faster.
func (c *collector) changed(change func() error) (bool, error) {
	if c.o.DryRun {
		return true, nil
	}
	err := change()
	if isLostRace(err) {
		return false, nil
	}
	return err == nil, c.unlessFull(err)
}

// unlessFull takes note that something could not be written for lack of space. The collection goes on: what it removes makes
// space.
func (c *collector) unlessFull(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = err
	return nil
}
