// Package packtags is the tags of a pack as the pack API shows them: without those of signatures, and with the parent tags that
// the versions make.
package packtags

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
)

// Of is the tags of the pack in a repository.
type Of struct{ Repository *store.Repository }

// readAtOnce is how many tags are read at once.
const readAtOnce = 1000

// hidden says whether a stored tag does not show: signatures and the like, and what only looks like a parent.
func hidden(tag string) bool { return pack.IsSignatureTag(tag) || pack.IsParentTag(tag) }

// Page returns up to limit tags that come after the given one, in byte order like any list, and the name to go on after as the store's
// TagPage does.
func (p Of) Page(ctx context.Context, after string, limit int) (found []string, more string, err error) {
	all, known, err := p.whole(ctx)
	if err != nil {
		return nil, "", err
	}
	if !known {
		return p.page(ctx, after, limit)
	}
	begin, _ := slices.BinarySearch(all, after+"\x00") // the next name that there can be
	found = all[begin:]
	if len(found) > limit {
		found = found[:limit]
		more = after
		if limit > 0 {
			more = found[limit-1]
		}
	}
	return found, more, nil
}

// whole returns all tags of a pack and their parents, sorted, unless the pack has too many to read for one page. Which
// parents belong to a page can be seen from all of them only: v1.2.3 and 20.00 lie below 1.x and 20.0.x, which come before
// them, and 22.04 below 22.4.x, with others between them.
func (p Of) whole(ctx context.Context) (all []string, known bool, err error) {
	stored, more, err := p.Repository.TagPage(ctx, "", readAtOnce)
	if err != nil || more != "" {
		return nil, false, err
	}
	parents := map[string]bool{}
	for _, tag := range stored {
		if hidden(tag) {
			continue
		}
		all = append(all, tag)
		for _, parent := range pack.Parents(tag) {
			parents[parent] = true
		}
	}
	return slices.Sorted(slices.Values(append(all, slices.Collect(maps.Keys(parents))...))), true, nil
}

// page is Page for a pack of very many tags, which reads no more than the page. Where a parent does not come after its
// version it is not listed; it resolves all the same.
//
// Other parents come after all of their children: a digit sorts before the x. So they are known by the time that it is their
// turn, but for those whose children came before the page.
func (p Of) page(ctx context.Context, after string, limit int) (found []string, more string, err error) {
	pending, err := p.open(ctx, after)
	if err != nil {
		return nil, "", err
	}
	for cursor := after; ; {
		stored, more, err := p.Repository.TagPage(ctx, cursor, max(limit, 1))
		if err != nil {
			return nil, "", err
		}
		for _, tag := range stored {
			for len(pending) > 0 && pending[0] < tag && len(found) < limit {
				found, pending = append(found, pending[0]), pending[1:]
			}
			if len(found) >= limit {
				return found, cursor, nil
			}
			cursor = tag
			if hidden(tag) {
				continue
			}
			found = append(found, tag)
			pending = merge(pending, pack.Parents(tag), tag)
		}
		if more == "" {
			found = append(found, pending...)
			return found[:min(limit, len(found))], "", nil
		}
		cursor = more
		if len(stored) < max(limit, 1) { // many that were deleted had to be read
			for len(pending) > 0 && pending[0] < cursor && len(found) < limit {
				found, pending = append(found, pending[0]), pending[1:]
			}
			return found, cursor, nil
		}
	}
}

// merge adds parents that come after the page's beginning to a sorted list.
func merge(pending, parents []string, after string) []string {
	for _, parent := range parents {
		if i, there := slices.BinarySearch(pending, parent); !there && parent > after {
			pending = slices.Insert(pending, i, parent)
		}
	}
	return pending
}

// open returns the parents that come after a tag while some child of theirs does not: their children share the tag's
// beginning.
func (p Of) open(ctx context.Context, after string) ([]string, error) {
	var pending []string
	for i, r := range after {
		if r != '.' {
			continue
		}
		parent := after[:i+1] + "x"
		if !pack.IsParentTag(parent) || parent <= after {
			continue
		}
		has := false
		err := p.below(ctx, childPrefix(parent), parent, func(tag string) bool {
			has = tag <= after
			return false
		})
		if err != nil {
			return nil, err
		}
		if has {
			pending = merge(pending, []string{parent}, after)
		}
	}
	return pending, nil
}

// childPrefix is what the tags below a parent tag begin with whose numbers are written as the parent's are.
func childPrefix(parent string) string { return strings.TrimSuffix(parent, "x") }

// below calls visit for the versions below a parent tag that begin so, in byte order, until it returns false.
func (p Of) below(ctx context.Context, prefix, parent string, visit func(tag string) bool) error {
	for cursor := prefix; ; {
		tags, more, err := p.Repository.TagPage(ctx, cursor, readAtOnce)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if !strings.HasPrefix(tag, prefix) {
				return nil
			}
			if slices.Contains(pack.Parents(tag), parent) && !visit(tag) {
				return nil
			}
		}
		if more == "" || !strings.HasPrefix(more, prefix) {
			return nil
		}
		cursor = more
	}
}

// newestBelow returns the newest version below a parent tag that is older than another ("" for any), or "".
func (p Of) newestBelow(ctx context.Context, parent, than string) (string, error) {
	newest := ""
	err := p.below(ctx, pack.ParentGroup(parent), parent, func(tag string) bool {
		if (than == "" || pack.Newer(than, tag)) && (newest == "" || pack.Newer(tag, newest)) {
			newest = tag
		}
		return true
	})
	return newest, err
}

// Reader returns the manifest that a tag names.
type Reader func(ctx context.Context, tag string) (*store.Manifest, error)

// Below returns the manifest of the newest version below a parent tag; ErrNotFound where there is none. One that is
// deleted meanwhile, or was left in name only by a crash, does not stand in the way of the version before it.
func (p Of) Below(ctx context.Context, parent string, tagged Reader) (*store.Manifest, error) {
	for than := ""; ; {
		newest, err := p.newestBelow(ctx, parent, than)
		if err != nil {
			return nil, err
		}
		if newest == "" {
			return nil, fmt.Errorf("no version below %s: %w", parent, store.ErrNotFound)
		}
		m, err := tagged(ctx, newest)
		if !errors.Is(err, store.ErrNotFound) {
			return m, err
		}
		than = newest
	}
}
