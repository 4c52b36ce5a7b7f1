package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// This file is the list of a repository's tags. Tags are listed by their keys, without being read, but for those that are
// being deleted or were: a tombstone, and a tag whose manifest went, are in the list of keys too. An object at d/ says
// which ones these can be. It is there before such a tag is, and goes after.

// deletionPage is how many deletions are read at once.
const deletionPage = 1000

// nextPage is how many names are read at least once a page was not enough: one by one each would take two lists.
const nextPage = 100

// maxTombstones is about how many tombstones are read for one page of tags.
const maxTombstones = 1000

// Tags returns up to limit tags that come after the given one, in byte order; fewer are the last ones. A repository without a
// manifest is ErrNotFound.
func (r *Repository) Tags(ctx context.Context, after string, limit int) ([]string, error) {
	var found []string
	for next := after; len(found) < limit; {
		tags, more, err := r.TagPage(ctx, next, limit-len(found))
		if err != nil {
			return nil, err
		}
		if found = append(found, tags...); more == "" {
			break
		}
		next = more
	}
	return found, nil
}

// TagPage is Tags that gives up where it had to read many tags that turned out to be deleted. Then more is the name to go on
// after; where there may be more for another reason, too. It is empty where these tags are the last ones.
func (r *Repository) TagPage(ctx context.Context, after string, limit int) (tags []string, more string, err error) {
	read, size := 0, limit
	for cursor := after; len(tags) < limit; {
		page, suspects, err := r.tagPage(ctx, cursor, size)
		if err != nil {
			return nil, "", err
		}
		dead, err := r.deadOf(ctx, suspects)
		if err != nil {
			return nil, "", err
		}
		for _, tag := range page {
			if cursor = tag; dead[tag] || !ValidTag(tag) {
				continue
			}
			if tags = append(tags, tag); len(tags) == limit {
				return tags, tag, nil
			}
		}
		if len(page) < size {
			break
		}
		size = max(limit, nextPage)
		if read += len(suspects); read >= maxTombstones {
			return tags, cursor, nil
		}
	}
	if len(tags) > 0 || limit <= 0 {
		return tags, "", nil
	}
	exists, err := r.Exists(ctx)
	if err == nil && !exists {
		err = fmt.Errorf("repository %s: %w", r.name, ErrNotFound)
	}
	return nil, "", err
}

// tagPage returns a page of the names of tags, and which of them may be dead.
func (r *Repository) tagPage(ctx context.Context, after string, limit int) (page, suspects []string, err error) {
	var deletions []string
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		page, err = r.s.list(groupCtx, tagPrefix(r.name), after, limit)
		return err
	})
	group.Go(func() (err error) {
		deletions, err = r.s.list(groupCtx, deletionPrefix(r.name), "", deletionPage)
		return err
	})
	if err := group.Wait(); err != nil || len(page) == 0 || len(deletions) == 0 {
		return page, nil, err
	}
	suspects, err = r.suspects(ctx, after, page, deletions)
	if err != nil {
		return nil, nil, err
	}
	return page, suspects, nil
}

// suspects returns which of a page's tags may be dead. deletions are the first ones; the page begins after that name.
func (r *Repository) suspects(ctx context.Context, after string, page, deletions []string) (found []string, err error) {
	last := page[len(page)-1]
	may := map[string]bool{}
	for {
		passed := false
		for _, name := range deletions {
			tag, d, ok := parseDeletion(name)
			switch {
			case !ok:
			case d != "":
				err = r.s.each(ctx, taggedPrefix(r.name, d), func(tag string) error {
					may[tag] = true
					return nil
				})
				if err != nil {
					return nil, err
				}
			case tag > last:
				passed = true
			default:
				may[tag] = true
			}
		}
		if passed || len(deletions) < deletionPage {
			break
		}
		// Those of manifests come first; then those of the tags before the page can be passed over.
		cursor := deletions[len(deletions)-1]
		if begin := after + "!~"; after != "" && !strings.HasPrefix(cursor, "!") && cursor < begin {
			cursor = begin
		}
		if deletions, err = r.s.list(ctx, deletionPrefix(r.name), cursor, deletionPage); err != nil {
			return nil, err
		}
	}
	for _, tag := range page {
		if may[tag] {
			found = append(found, tag)
		}
	}
	return found, nil
}

// deadOf says which of these tags name nothing.
func (r *Repository) deadOf(ctx context.Context, tags []string) (map[string]bool, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	var mu sync.Mutex
	dead := map[string]bool{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, tag := range tags {
		group.Go(func() error {
			_, err := r.TaggedHead(ctx, tag)
			if errors.Is(err, ErrNotFound) {
				mu.Lock()
				defer mu.Unlock()
				dead[tag] = true
				return nil
			}
			return ignoreDamaged(err)
		})
	}
	return dead, group.Wait()
}

// tagDeletions returns the keys of all deletions of a tag.
func (r *Repository) tagDeletions(ctx context.Context, tag string) ([]string, error) {
	prefix, start := deletionPrefix(r.name), tag+"!"
	var keys []string
	for after := start; ; {
		names, err := r.s.list(ctx, prefix, after, deletionPage)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if !strings.HasPrefix(name, start) {
				return keys, nil
			}
			keys = append(keys, prefix+name)
			after = name
		}
		if len(names) < deletionPage {
			return keys, nil
		}
	}
}
