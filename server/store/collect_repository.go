package store

import (
	"context"
	"errors"
	"hash/maphash"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"packregistry.dev/server/store/driver"
)

// This file is the collector at work in one repository: which manifests are alive, and which blobs they need.

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
	n := &node{Manifest: m, subject: digest.Digest(m.header.Subject)}
	for _, ref := range m.references() {
		// Whatever it is named as: what is there under that digest stays.
		n.blobs = append(n.blobs, ref.Digest)
		if ref.Kind != ToBlob {
			n.manifests = append(n.manifests, ref.Digest)
		}
	}
	for _, file := range m.Files {
		n.blobs = append(n.blobs, file.Digest)
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
	case condemned == nil, c.misdated(condemned):
		next.Condemned, next.Nonce = &c.now, nonce()
		done, err := c.changed(func() error { return r.replaceHeader(ctx, m.Manifest, next) })
		if done {
			c.count(func(d *Collected) { d.Condemned++ })
		}
		return false, err
	case named, !c.old(condemned, c.o.KeepUntagged):
		return false, nil
	}
	gone, err = c.changed(func() error { return r.removeManifest(ctx, m.Manifest) })
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
	case l.Condemned == nil, c.misdated(l.Condemned):
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
