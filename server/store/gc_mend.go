package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// This file is the collector mending what crashes left of a repository's lists: the reverse index of tags, the referrers,
// the deletions, and the catalog.

// unusedIndex is how old an entry of the reverse index must be to be removed that no tag stands behind: the entry is written
// before its tag, and its writer may be stopped in between.
const unusedIndex = 24 * time.Hour

func (c *repositoryCollection) mend(ctx context.Context) error {
	if !c.o.DryRun {
		for _, step := range []func(context.Context) error{c.mendIndex, c.mendReferrers, c.mendDeletions} {
			if err := c.unlessFull(step(ctx)); err != nil {
				return err
			}
		}
	}
	return c.catalog(ctx, c.r)
}

// mendIndex removes entries of the reverse index whose tag does not name their manifest, and adds those that are missing.
func (c *repositoryCollection) mendIndex(ctx context.Context) error {
	err := c.s.each(ctx, indexPrefix(c.r.name), func(entry string) error {
		d, err := parseDigestName(strings.TrimSuffix(entry, "/"))
		if err != nil {
			return nil //nolint:nilerr // not of this store
		}
		return c.s.each(ctx, indexPrefix(c.r.name)+entry, func(tag string) error {
			if i, ok := c.tags[tag]; ok && c.graph.nodes[i].digest == d {
				delete(c.tags, tag)
				return nil
			}
			return c.unusedIndex(ctx, d, tag)
		})
	})
	if err != nil {
		return err
	}
	for tag, i := range c.tags {
		if err := ignoreExist(c.s.d.Create(ctx, taggedKey(c.r.name, c.graph.nodes[i].digest, tag), nil, driver.Durable)); err != nil {
			return err
		}
	}
	return nil
}

// unusedIndex removes an entry of the reverse index that was of no use when the tags were read.
func (c *repositoryCollection) unusedIndex(ctx context.Context, d digest.Digest, tag string) error {
	t, _, err := c.r.tag(ctx, tag)
	if err == nil && t.Digest == d || err != nil && !errors.Is(err, ErrNotFound) {
		return ignoreDamaged(err)
	}
	if old, err := c.seasoned(ctx, taggedKey(c.r.name, d, tag), unusedIndex); err != nil || !old {
		return err
	}
	return c.r.unindex(ctx, d, tag)
}

// mendReferrers takes manifests that are gone off the lists of their subjects, and puts those on them that lack.
func (c *repositoryCollection) mendReferrers(ctx context.Context) error {
	err := c.s.each(ctx, referrersPrefix(c.r.name), func(entry string) error {
		subject, err := parseDigestName(strings.TrimSuffix(entry, "/"))
		if err != nil {
			return nil //nolint:nilerr // not of this store
		}
		return c.s.each(ctx, referrersPrefix(c.r.name)+entry, func(name string) error {
			d, err := parseDigestName(name)
			if err != nil {
				return nil //nolint:nilerr // as above
			}
			if i, ok := c.graph.find(d); ok && c.graph.nodes[i].subject == c.graph.hash(string(subject)) {
				c.graph.nodes[i].listed = true
				return nil
			}
			if _, err := c.r.Manifest(ctx, d); !errors.Is(err, ErrNotFound) {
				return ignoreDamaged(err)
			}
			return c.r.forgetReferrer(ctx, subject, d)
		})
	})
	if err != nil {
		return err
	}
	for i := range c.graph.nodes {
		if n := &c.graph.nodes[i]; n.subject != 0 && !n.listed && !n.gone {
			if err := c.r.relistReferrer(ctx, n.digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// readDeletions reads them before any manifest is read.
func (c *repositoryCollection) readDeletions(ctx context.Context) error {
	return c.s.each(ctx, deletionPrefix(c.r.name), func(name string) error {
		c.deletions = append(c.deletions, name)
		return nil
	})
}

// forgetDeletion is the age at which the deletion of a manifest that is there still was interrupted, and not stopped.
const forgetDeletion = forgetTombstones

// mendDeletions removes deletions that are of no use any more, now that no tag is dead of which they are: that of a
// manifest goes where the manifest was gone before the tags were read.
func (c *repositoryCollection) mendDeletions(ctx context.Context) error {
	if c.full != nil {
		return nil //nolint:nilerr // it is reported at the end; something dead may be left
	}
	tags := map[string][]string{}
	for _, name := range c.deletions {
		tag, d, ok := parseDeletion(name)
		if !ok {
			continue // not of this store
		}
		key := deletionPrefix(c.r.name) + name
		if d == "" {
			tags[tag] = append(tags[tag], key)
			continue
		}
		if _, there := c.graph.find(d); there {
			if old, err := c.seasoned(ctx, key, forgetDeletion); err != nil || !old {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := c.s.d.Delete(ctx, key); err != nil {
			return err
		}
	}
	for tag, keys := range tags {
		if err := c.mendTagDeletions(ctx, tag, keys); err != nil {
			return err
		}
	}
	return nil
}

// mendTagDeletions keeps one deletion of a tag that is a tombstone, and none of another. A deletion whose writer has not come
// to the tag yet must not go: so a tag that is there is written once more, which makes that writer fail and begin again.
func (c *repositoryCollection) mendTagDeletions(ctx context.Context, tag string, keys []string) error {
	t, version, err := c.r.readTag(ctx, tag)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return ignoreDamaged(err)
	case t.Tombstone:
		keys = keys[1:]
	default:
		t.Touched = nonce() // its Nonce says whose it is, which stays true
		if err := c.s.d.Replace(ctx, tagKey(c.r.name, tag), mustJSON(t), version); isLostRace(err) {
			return nil // the next collection does it
		} else if err != nil {
			return err
		}
	}
	return c.r.removeAll(ctx, keys)
}

// catalog mends what a push or a deletion that died left of the catalog.
func (c *collector) catalog(ctx context.Context, r *Repository) error {
	if c.o.DryRun {
		return nil
	}
	empty, err := r.empty(ctx, "")
	if err != nil {
		return err
	}
	_, err = c.s.d.Stat(ctx, catalogKey(r.name))
	switch listed := err == nil; {
	case err != nil && !errors.Is(err, driver.ErrNotExist):
		return err
	case listed && empty:
		return r.leaveCatalog(ctx, "")
	case !listed && !empty:
		return c.unlessFull(ignoreExist(c.s.d.Create(ctx, catalogKey(r.name), nil, driver.Durable)))
	}
	return nil
}
