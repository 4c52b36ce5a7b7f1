package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// This file is the collector at work in one repository: which manifests are alive, and which blobs they need. Of each record
// it remembers what it takes to decide, and a hash of the version that it had: before a record is changed it is read
// again, and stays where it has another version by now.

// repositoryCollection is the collection of one repository.
type repositoryCollection struct {
	*collector
	r     *Repository
	graph *graph
	links map[uint64]observedLink
	// tags are those that name a manifest, with its place in the graph.
	tags map[string]int32
	// deletions are those that there were before any manifest was read.
	deletions []string
	// markedBefore are the versions of manifests that were marked before any was read for what it names: see readMarks.
	markedBefore map[uint64]struct{}
}

// observedLink is a link as it was before the repository's manifests were read.
type observedLink struct {
	// version is the hash of the record's version, and data that of the key of the blob's data.
	version, data uint64
	marked        int64
	tombstone     bool
	referenced    bool
}

func (c *collector) repository(ctx context.Context, r *Repository) error {
	rc := &repositoryCollection{collector: c, r: r, graph: newGraph(c.seed), links: map[uint64]observedLink{}, tags: map[string]int32{}}
	for _, step := range []func(context.Context) error{
		rc.readDeletions, rc.readLinks, rc.readMarks, rc.readManifests, rc.readTags, rc.sweepManifests, rc.sweepLinks, rc.mend,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// eachParallel calls read for the names below a prefix, several at once. Names that are gone meanwhile are passed over.
func eachParallel(ctx context.Context, s *Store, prefix string, read func(ctx context.Context, name string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	err := s.each(ctx, prefix, func(name string) error {
		group.Go(func() error {
			if err := read(ctx, name); !errors.Is(err, ErrNotFound) {
				return err
			}
			return nil
		})
		return nil
	})
	return errors.Join(group.Wait(), err)
}

func (c *repositoryCollection) readLinks(ctx context.Context) error {
	var mu sync.Mutex
	return eachParallel(ctx, c.s, linkPrefix(c.r.name), func(ctx context.Context, name string) error {
		d, err := parseDigestName(name)
		if err != nil {
			return nil //nolint:nilerr // not of this store; a server's own temporary name, perhaps
		}
		l, version, err := c.r.readLink(ctx, d)
		if err != nil {
			return err
		}
		observed := observedLink{version: c.graph.hash(string(version)), data: c.nameHash(l.Key), tombstone: l.Tombstone}
		if l.Marked != nil {
			observed.marked = l.Marked.UnixNano()
		}
		mu.Lock()
		defer mu.Unlock()
		c.links[c.graph.hash(string(d))] = observed
		return nil
	})
}

// readMarks finds the manifests that are marked already. A mark speaks for a removal only if it was there before the
// manifests that could name that one were read: else another collector can have made it meanwhile, after somebody had
// pushed an index, and looked. A grace period ensures that; where there is none the marks are read first.
func (c *repositoryCollection) readMarks(ctx context.Context) error {
	if c.o.KeepUntagged > 0 {
		return nil
	}
	c.markedBefore = map[uint64]struct{}{}
	var mu sync.Mutex
	return c.eachManifest(ctx, func(m *Manifest) {
		if m.header.Marked == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		c.markedBefore[c.graph.hash(string(m.version))] = struct{}{}
	})
}

// markedLong says that a manifest was marked long enough ago to be removed now.
func (c *repositoryCollection) markedLong(n *node) bool {
	if _, before := c.markedBefore[n.version]; c.markedBefore != nil && !before {
		return false
	}
	return c.old(markedAt(n.marked), c.o.KeepUntagged)
}

// eachManifest reads every manifest of the repository, several at a time.
func (c *repositoryCollection) eachManifest(ctx context.Context, f func(*Manifest)) error {
	return eachParallel(ctx, c.s, manifestPrefix(c.r.name), func(ctx context.Context, name string) error {
		d, err := parseDigestName(name)
		if err != nil {
			return nil //nolint:nilerr // of another program
		}
		m, err := c.r.Manifest(ctx, d)
		if err != nil {
			return err
		}
		f(m)
		return nil
	})
}

func (c *repositoryCollection) readManifests(ctx context.Context) error {
	var mu sync.Mutex
	return c.eachManifest(ctx, func(m *Manifest) {
		refs := c.graph.references(m)
		mu.Lock()
		defer mu.Unlock()
		c.graph.add(m, refs)
	})
}

// readTags finds the manifests that tags name, by reading the tags: the reverse index may lack one whose writer is stopped.
// Tags that are dead are removed.
func (c *repositoryCollection) readTags(ctx context.Context) error {
	var mu sync.Mutex
	var tagged []int32
	err := eachParallel(ctx, c.s, tagPrefix(c.r.name), func(ctx context.Context, tag string) error {
		if !ValidTag(tag) {
			return nil // not of this store
		}
		t, _, err := c.r.tag(ctx, tag)
		if err != nil {
			return err
		}
		i, ok := c.graph.find(t.Digest)
		if !ok || c.graph.nodes[i].generation != c.graph.hash(t.Generation) {
			if c.o.DryRun {
				return nil
			}
			return c.unlessFull(c.r.removeIfDead(ctx, tag))
		}
		mu.Lock()
		defer mu.Unlock()
		c.tags[tag] = i
		tagged = append(tagged, i)
		return nil
	})
	c.graph.reach(tagged)
	return err
}

func (c *repositoryCollection) sweepManifests(ctx context.Context) error {
	return c.graph.sweep(func(n *node, held bool) (bool, error) { return c.manifest(ctx, n, held) })
}

// observed returns a manifest that still has the version that was observed, or nil.
func (c *repositoryCollection) observed(ctx context.Context, n *node) (*Manifest, error) {
	m, err := c.r.Manifest(ctx, n.digest)
	if errors.Is(err, ErrNotFound) || err == nil && c.graph.hash(string(m.version)) != n.version {
		return nil, nil
	}
	return m, err
}

// manifest decides on one manifest, and says whether it is gone. One that is held by another stays as long as that does.
func (c *repositoryCollection) manifest(ctx context.Context, n *node, held bool) (gone bool, err error) {
	marked := markedAt(n.marked)
	remove := c.markedLong(n)
	switch {
	case n.alive && marked == nil:
		return false, nil
	case n.alive, marked == nil, c.misdated(marked):
		return false, c.markManifest(ctx, n, !n.alive)
	case held || !remove:
		return false, nil
	}
	m, err := c.observed(ctx, n)
	if m == nil || err != nil {
		return false, err
	}
	if seasoned, err := c.seasoned(ctx, manifestKey(c.r.name, n.digest), c.o.KeepUntagged); err != nil || !seasoned {
		return false, err
	}
	if subject := digest.Digest(m.header.Subject); subject != "" {
		// One that was pushed since the repository was read may be tagged by now.
		if _, known := c.graph.find(subject); !known {
			if _, err := c.r.Manifest(ctx, subject); !errors.Is(err, ErrNotFound) {
				return false, ignoreDamaged(err)
			}
		}
	}
	gone, err = c.changed(func() error { return c.r.removeManifest(ctx, m) })
	if !gone || err != nil {
		return gone, err
	}
	c.count(func(d *Collected) { d.Manifests++ })
	if c.o.DryRun {
		return true, nil
	}
	return true, c.unlessFull(c.r.forgetManifest(ctx, m))
}

// markManifest marks a manifest for deletion, or takes the mark away.
func (c *repositoryCollection) markManifest(ctx context.Context, n *node, mark bool) error {
	m, err := c.observed(ctx, n)
	if m == nil || err != nil {
		return err
	}
	next := m.header
	next.Marked, next.Nonce = nil, nonce()
	if mark {
		next.Marked = c.time()
	}
	done, err := c.changed(func() error { return c.r.replaceHeader(ctx, m, next) })
	c.countMark(mark, done)
	return err
}

func (c *collector) countMark(mark, done bool) {
	c.count(func(d *Collected) {
		switch {
		case done && mark:
			d.Marked++
		case done:
			d.Kept++
		}
	})
}

func markedAt(nanoseconds int64) *time.Time {
	if nanoseconds == 0 {
		return nil
	}
	at := time.Unix(0, nanoseconds)
	return &at
}

// sweepLinks decides on all links, once it is known which manifests stay.
func (c *repositoryCollection) sweepLinks(ctx context.Context) error {
	for i := range c.graph.nodes {
		n := &c.graph.nodes[i]
		if n.gone {
			continue
		}
		for _, ref := range c.graph.edges[n.from:n.to] {
			if l, ok := c.links[ref]; ok && !l.referenced {
				l.referenced = true
				c.links[ref] = l
			}
		}
	}
	return c.s.each(ctx, linkPrefix(c.r.name), func(name string) error {
		d, err := parseDigestName(name)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		l, ok := c.links[c.graph.hash(string(d))]
		if !ok || l.tombstone {
			return nil // it came after the others were read, and its data is kept by whoever made it
		}
		gone, err := c.link(ctx, d, l)
		if !gone && err == nil {
			c.named[l.data] = struct{}{}
		}
		return err
	})
}

// link decides on one link, and says whether it is gone; one that stays speaks for its data.
func (c *repositoryCollection) link(ctx context.Context, d digest.Digest, l observedLink) (gone bool, err error) {
	marked := markedAt(l.marked)
	mark := !l.referenced && (marked == nil || c.misdated(marked))
	remove := !l.referenced && !mark && c.old(marked, c.o.Grace)
	if !mark && !remove && (!l.referenced || marked == nil) {
		return false, nil
	}
	current, version, err := c.r.readLink(ctx, d)
	if errors.Is(err, ErrNotFound) || err == nil && c.graph.hash(string(version)) != l.version {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if remove {
		if seasoned, err := c.seasoned(ctx, linkKey(c.r.name, d), c.o.Grace); err != nil || !seasoned {
			return false, err
		}
		gone, err = c.changed(func() error { return c.r.removeLink(ctx, d, version) })
		if gone {
			c.count(func(d *Collected) { d.Links++ })
		}
		return gone, err
	}
	current.Marked, current.Nonce = nil, nonce()
	if mark {
		current.Marked = c.time()
	}
	done, err := c.changed(func() error { return c.s.d.Replace(ctx, linkKey(c.r.name, d), mustJSON(current), version) })
	c.countMark(mark, done)
	return false, err
}
