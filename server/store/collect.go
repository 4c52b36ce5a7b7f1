package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"packregistry.dev/server/store/driver"
)

// This file is the collector: it removes what nothing refers to, while everything else goes on.
//
// A thing goes in two steps, in two different collections. The first finds that nothing refers to it and condemns it, by
// changing its record. The second, at least a grace period later, looks for references once more, and removes it only if
// its record is still the one that it saw before it looked. Whoever begins to refer to a thing (a tag or an index to a
// manifest, a manifest to a blob, a link to bytes) publishes the reference first and looks at the record after: where it
// is condemned it is changed back. So of the two one comes first and the other notices, however long either of them was
// stopped at any instruction, and however many collectors run:
//
//   - a reference that was published before the second look is seen by it;
//   - one that was published after it finds the thing condemned, and changes its record, which makes the removal fail;
//     or finds that it is gone, and says so to its client.
//
// Manifests and links are condemned in their own records. Bytes cannot be changed, so a mark lies beside them, and the
// name that they were purged under is never used again (keys.go: the incarnation).

// Collection says what to collect.
type Collection struct {
	// Grace is how long a blob must have been condemned, and KeepUntagged a manifest, to be removed.
	Grace, KeepUntagged time.Duration
	// DryRun changes nothing.
	DryRun bool
}

// Collected is what a collection did or, on a dry run, would have done.
type Collected struct {
	Repositories int `json:"repositories"`
	// Condemned counts things that are garbage, and will go with a later collection.
	Condemned int `json:"condemned"`
	// Kept counts things that were condemned and are referred to again.
	Kept int `json:"kept"`
	// Manifests, Links (of blobs to repositories) and Blobs were removed, and Bytes with the last.
	Manifests int   `json:"manifests"`
	Links     int   `json:"links"`
	Blobs     int   `json:"blobs"`
	Bytes     int64 `json:"bytes"`
}

// parallel is how many objects are read at once.
const parallel = 8

// forgetPurged is how long it is remembered that bytes were purged: longer than any process is stopped.
const forgetPurged = 7 * 24 * time.Hour

// collector is one collection under way.
type collector struct {
	s   *Store
	o   Collection
	now time.Time

	seed  maphash.Seed
	mu    sync.Mutex
	done  Collected
	named map[uint64]struct{}
}

// Collect removes what nothing refers to. Any number of collections may run at once, on any number of processes.
func (s *Store) Collect(ctx context.Context, o Collection) (Collected, error) {
	c := &collector{s: s, o: o, seed: maphash.MakeSeed(), named: map[uint64]struct{}{}}
	var err error
	if c.now, err = s.clock(ctx, o.DryRun); err != nil {
		return Collected{}, err
	}
	// Marks are looked at before the links that could speak against them.
	marks, err := c.marks(ctx)
	if err != nil {
		return c.done, err
	}
	seen := map[string]bool{}
	err = s.each(ctx, repositoriesPrefix, func(name string) error {
		c.done.Repositories++
		name = strings.TrimSuffix(name, "/")
		seen[name] = true
		return c.repository(ctx, s.Repository(unescape(name)))
	})
	if err != nil {
		return c.done, err
	}
	// Entries of repositories that hold nothing at all.
	err = s.each(ctx, catalogPrefix, func(name string) error {
		if seen[name] {
			return nil
		}
		return c.catalog(ctx, s.Repository(unescape(name)))
	})
	if err != nil {
		return c.done, err
	}
	return c.done, c.bytes(ctx, marks)
}

// CollectionDue says whether the last collection began so long ago, and if so notes that one begins now: of several
// processes that ask, one is told to collect. That saves work; it is not what makes collecting safe.
func (s *Store) CollectionDue(ctx context.Context, interval time.Duration) (bool, error) {
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
	if json.Unmarshal(data, &last) == nil && now.Sub(last.Began) < interval {
		return false, nil
	}
	last.Began, last.Nonce = now, nonce()
	err = s.d.Replace(ctx, collectionKey, mustJSON(last), version)
	if isLostRace(err) {
		return false, nil
	}
	return err == nil, err
}

// clock is the storage's own time, so that ages do not depend on whose clock is right.
func (s *Store) clock(ctx context.Context, dryRun bool) (time.Time, error) {
	if !dryRun {
		if err := s.WritePrivate(ctx, "clock", []byte(nonce())); err != nil {
			return time.Time{}, err
		}
		info, err := s.d.Stat(ctx, privateKey("clock"))
		return info.ModTime.UTC(), err
	}
	return s.now().UTC(), nil
}

// each calls f for every name below a prefix.
func (s *Store) each(ctx context.Context, prefix string, f func(name string) error) error {
	after := ""
	for {
		names, err := s.d.List(ctx, prefix, after, 1000)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, after = range names {
			if err := f(after); err != nil {
				return err
			}
		}
	}
}

// eachBytes calls f for everything that lies where bytes do, or their marks: b/<alg>/<hh>/<name>.
func (s *Store) eachBytes(ctx context.Context, prefix string, f func(name string) error) error {
	return s.each(ctx, prefix, func(algorithm string) error {
		return s.each(ctx, prefix+algorithm, func(start string) error {
			return s.each(ctx, prefix+algorithm+start, func(name string) error { return f(algorithm + start + name) })
		})
	})
}

// old says whether something was condemned long enough ago.
func (c *collector) old(condemned *time.Time, limit time.Duration) bool {
	return condemned != nil && c.now.Sub(*condemned) >= limit
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
	return err == nil, err
}

// observedLink is a link as it was before the repository's manifests were read.
type observedLink struct {
	link
	version driver.Version
}

func (c *collector) repository(ctx context.Context, r *Repository) error {
	links, err := c.links(ctx, r)
	if err != nil {
		return err
	}
	manifests, err := c.manifests(ctx, r)
	if err != nil {
		return err
	}
	tagged, err := c.tagged(ctx, r, manifests)
	if err != nil {
		return err
	}
	alive := closure(manifests, tagged)
	gone, err := c.sweep(ctx, r, manifests, alive)
	if err != nil {
		return err
	}
	referenced := map[digest.Digest]bool{}
	for d, m := range manifests {
		if !gone[d] {
			for _, blob := range m.blobs {
				referenced[blob] = true
			}
		}
	}
	for _, d := range slices.Sorted(maps.Keys(links)) {
		if err := c.link(ctx, r, d, links[d], referenced[d]); err != nil {
			return err
		}
	}
	return c.catalog(ctx, r)
}

// catalog mends what a push or a deletion that died left of the catalog.
func (c *collector) catalog(ctx context.Context, r *Repository) error {
	if c.o.DryRun {
		return nil
	}
	empty, err := r.empty(ctx)
	if err != nil {
		return err
	}
	_, err = c.s.d.Stat(ctx, catalogKey(r.name))
	switch listed := err == nil; {
	case err != nil && !errors.Is(err, driver.ErrNotExist):
		return err
	case listed && empty:
		return r.leaveCatalog(ctx)
	case !listed && !empty:
		return ignoreExist(c.s.d.Create(ctx, catalogKey(r.name), nil, driver.Durable))
	}
	return nil
}

// readAll reads what the names below a prefix stand for, several at once. Names that are gone meanwhile are passed over.
func readAll[T any](ctx context.Context, s *Store, prefix string, read func(ctx context.Context, name string) (digest.Digest, T, error)) (map[digest.Digest]T, error) {
	var mu sync.Mutex
	found := map[digest.Digest]T{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	err := s.each(ctx, prefix, func(name string) error {
		group.Go(func() error {
			d, v, err := read(ctx, name)
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				found[d] = v
			}
			return err
		})
		return nil
	})
	return found, errors.Join(group.Wait(), err)
}

func (c *collector) links(ctx context.Context, r *Repository) (map[digest.Digest]observedLink, error) {
	return readAll(ctx, c.s, linkPrefix(r.name), func(ctx context.Context, name string) (digest.Digest, observedLink, error) {
		d, err := parseDigestName(name)
		if err != nil {
			return "", observedLink{}, ErrNotFound // not of this store; a server's own temporary name, perhaps
		}
		l, version, err := r.readLink(ctx, d)
		return d, observedLink{l, version}, err
	})
}

// node is a manifest and what it names.
type node struct {
	*Manifest
	blobs, manifests []digest.Digest
	subject          digest.Digest
}

func (c *collector) manifests(ctx context.Context, r *Repository) (map[digest.Digest]*node, error) {
	return readAll(ctx, c.s, manifestPrefix(r.name), func(ctx context.Context, name string) (digest.Digest, *node, error) {
		d, err := parseDigestName(name)
		if err != nil {
			return "", nil, ErrNotFound // as above
		}
		m, err := r.Manifest(ctx, d)
		if err != nil {
			return "", nil, err
		}
		return d, newNode(m), nil
	})
}

func newNode(m *Manifest) *node {
	var named struct {
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Blobs     []ocispec.Descriptor `json:"blobs"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	n := &node{Manifest: m, subject: digest.Digest(m.header.Subject)}
	// What was accepted as a manifest is JSON; what is not names nothing.
	json.Unmarshal(m.Content, &named) //nolint:errcheck // see above
	if named.Config != nil {
		n.blobs = append(n.blobs, named.Config.Digest)
	}
	for _, d := range slices.Concat(named.Layers, named.Blobs) {
		n.blobs = append(n.blobs, d.Digest)
	}
	for _, file := range m.Files {
		n.blobs = append(n.blobs, file.Digest)
	}
	for _, d := range named.Manifests {
		n.manifests = append(n.manifests, d.Digest)
		n.blobs = append(n.blobs, d.Digest) // an index may name a blob
	}
	return n
}

// tagged finds the manifests that tags name, by reading the tags: the reverse index may lack one whose writer is stopped.
func (c *collector) tagged(ctx context.Context, r *Repository, manifests map[digest.Digest]*node) (map[digest.Digest]bool, error) {
	var mu sync.Mutex
	found := map[digest.Digest]bool{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	err := c.s.each(ctx, tagPrefix(r.name), func(tag string) error {
		group.Go(func() error {
			t, _, err := r.tag(ctx, tag)
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			if m := manifests[t.Digest]; m != nil && m.header.Incarnation == t.Incarnation {
				mu.Lock()
				defer mu.Unlock()
				found[t.Digest] = true
			}
			return nil
		})
		return nil
	})
	return found, errors.Join(group.Wait(), err)
}

// closure adds to the tagged manifests those that they name, and those whose subject is among them.
func closure(manifests map[digest.Digest]*node, tagged map[digest.Digest]bool) map[digest.Digest]bool {
	referrers := map[digest.Digest][]digest.Digest{}
	for d, m := range manifests {
		if m.subject != "" {
			referrers[m.subject] = append(referrers[m.subject], d)
		}
	}
	alive := map[digest.Digest]bool{}
	todo := slices.Collect(maps.Keys(tagged))
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		m := manifests[d]
		if alive[d] || m == nil {
			continue
		}
		alive[d] = true
		todo = append(append(todo, m.manifests...), referrers[d]...)
	}
	return alive
}

// sweep decides on all manifests, and returns those that are gone. An index goes before what it names: where somebody
// tags it in this moment it stays, and so must they.
func (c *collector) sweep(ctx context.Context, r *Repository, manifests map[digest.Digest]*node, alive map[digest.Digest]bool) (map[digest.Digest]bool, error) {
	parents := map[digest.Digest][]digest.Digest{}
	for d, m := range manifests {
		for _, child := range m.manifests {
			parents[child] = append(parents[child], d)
		}
	}
	decided, gone := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	var decide func(d digest.Digest) error
	decide = func(d digest.Digest) error {
		if decided[d] {
			return nil
		}
		decided[d] = true
		named := false
		for _, parent := range parents[d] {
			if err := decide(parent); err != nil {
				return err
			}
			named = named || !gone[parent]
		}
		var err error
		gone[d], err = c.manifest(ctx, r, manifests[d], alive[d], named)
		return err
	}
	for _, d := range slices.Sorted(maps.Keys(manifests)) {
		if err := decide(d); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// manifest decides on one manifest, and says whether it is gone. One that is named by another stays as long as that does.
func (c *collector) manifest(ctx context.Context, r *Repository, m *node, alive, named bool) (gone bool, err error) {
	next := m.header
	switch condemned := m.header.Condemned; {
	case alive && condemned != nil:
		next.Condemned, next.Nonce = nil, nonce()
		kept, err := c.changed(func() error { return r.replaceHeader(ctx, m.Manifest, next) })
		if kept {
			c.count(func(d *Collected) { d.Kept++ })
		}
		return false, err
	case alive:
		return false, nil
	case condemned == nil:
		next.Condemned, next.Nonce = &c.now, nonce()
		done, err := c.changed(func() error { return r.replaceHeader(ctx, m.Manifest, next) })
		if done {
			c.count(func(d *Collected) { d.Condemned++ })
		}
		return false, err
	case named, !c.old(condemned, c.o.KeepUntagged):
		return false, nil
	}
	gone, err = c.changed(func() error {
		return c.s.removeUnchanged(ctx, manifestKey(r.name, m.Digest), header{Purged: true, Incarnation: nonce()}.record(nil), m.version)
	})
	if !gone || err != nil {
		return gone, err
	}
	c.count(func(d *Collected) { d.Manifests++ })
	if c.o.DryRun {
		return true, nil
	}
	return true, r.forgetManifest(ctx, m.Manifest)
}

// link decides on one link; one that stays speaks for its bytes.
func (c *collector) link(ctx context.Context, r *Repository, d digest.Digest, l observedLink, referenced bool) error {
	if l.Purged {
		return nil
	}
	key, next := linkKey(r.name, d), l.link
	switch {
	case referenced && l.Condemned != nil:
		next.Condemned, next.Nonce = nil, nonce()
		kept, err := c.changed(func() error { return c.s.d.Replace(ctx, key, mustJSON(next), l.version) })
		if err != nil {
			return err
		}
		if kept {
			c.count(func(d *Collected) { d.Kept++ })
		}
	case referenced:
	case l.Condemned == nil:
		next.Condemned, next.Nonce = &c.now, nonce()
		done, err := c.changed(func() error { return c.s.d.Replace(ctx, key, mustJSON(next), l.version) })
		if err != nil {
			return err
		}
		if done {
			c.count(func(d *Collected) { d.Condemned++ })
		}
	case c.old(l.Condemned, c.o.Grace):
		gone, err := c.changed(func() error {
			return c.s.removeUnchanged(ctx, key, mustJSON(link{Purged: true, Nonce: nonce()}), l.version)
		})
		if err != nil {
			return err
		}
		if gone {
			c.count(func(d *Collected) { d.Links++ })
			return nil
		}
	}
	c.named[maphash.String(c.seed, l.Key)] = struct{}{}
	return nil
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
		_, named := c.named[maphash.String(c.seed, key)]
		return c.oneBytes(ctx, key, m, named)
	})
	if err != nil || c.o.DryRun {
		return err
	}
	for key, m := range marks {
		if !there[key] && m.purged() && c.old(m.Purged, forgetPurged) {
			if err := c.s.unmark(ctx, key, m.version); err != nil && !isLostRace(err) {
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
	case !m.condemned():
		next := mark{Nonce: nonce(), Condemned: &c.now}
		done, err := c.changed(func() error { return c.s.d.Replace(ctx, markKey(key), mustJSON(next), m.version) })
		if done {
			c.count(func(d *Collected) { d.Condemned++ })
		}
		return err
	case !c.old(m.Condemned, c.o.Grace):
		return nil
	}
	next := mark{Nonce: nonce(), Condemned: m.Condemned, Purged: &c.now}
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
