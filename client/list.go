package client

import (
	"context"
	"strings"

	"golang.org/x/sync/errgroup"

	"packregistry.dev/pack"
)

// Listed is a pack with its tags: versions first, the newest first, then other names.
type Listed struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// parallel is how many requests are under way at once where many are needed.
const parallel = 8

// each calls do for all items, some at once, and returns the results in the items' order.
func each[T, R any](ctx context.Context, items []T, do func(context.Context, T) (R, error)) ([]R, error) {
	results := make([]R, len(items))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, item := range items {
		group.Go(func() (err error) {
			results[i], err = do(ctx, item)
			return err
		})
	}
	return results, group.Wait()
}

// List returns all packs, or the one of that name, with their tags.
func (c *Client) List(ctx context.Context, only string) ([]Listed, error) {
	if only != "" {
		tags, err := c.tags(ctx, only)
		if err != nil {
			return nil, err
		}
		if len(tags) == 0 {
			return nil, notFound("there is no pack %s at %s", only, c.server.Host)
		}
		pack.SortTags(tags)
		return []Listed{{only, tags}}, nil
	}
	names, err := c.Names(ctx)
	if err != nil {
		return nil, err
	}
	found, err := each(ctx, names, func(ctx context.Context, name string) (Listed, error) {
		tags, err := c.tags(ctx, name)
		pack.SortTags(tags)
		return Listed{name, tags}, err
	})
	if err != nil {
		return nil, err
	}
	list := found[:0]
	for _, p := range found {
		if len(p.Tags) > 0 { // else it was deleted meanwhile
			list = append(list, p)
		}
	}
	return list, nil
}

// Names returns the names of all packs.
func (c *Client) Names(ctx context.Context) ([]string, error) {
	var names []string
	var seen pages
	// Names come in byte order, so packs begin right after the prefix without its slash.
	err := c.registry.Repositories(ctx, strings.TrimSuffix(c.prefix(), "/"), func(page []string) error {
		if err := seen.add(len(page)); err != nil {
			return err
		}
		for _, name := range page {
			if rest, ok := strings.CutPrefix(name, c.prefix()); ok && pack.IsName(rest) { // others are no packs': deeper, or what no registry may have
				names = append(names, rest)
			}
		}
		return nil
	})
	return names, c.explain(err)
}
