package store

import (
	"context"
	"errors"

	"packregistry.dev/server/store/driver"
)

// This file is whether a repository shows in the catalog: while it holds a manifest.

// leaveCatalog takes the repository out of the catalog when its last manifest is gone, and back in when one came at
// that moment: the other pusher saw the entry still there.
func (r *Repository) leaveCatalog(ctx context.Context) error {
	empty, err := r.empty(ctx)
	if err != nil || !empty {
		return err
	}
	if err := r.s.d.Delete(ctx, catalogKey(r.name)); err != nil {
		return err
	}
	if empty, err = r.empty(ctx); err != nil || empty {
		return err
	}
	return ignoreExist(r.s.d.Create(ctx, catalogKey(r.name), nil, driver.Durable))
}

// empty says whether the repository holds no manifest. What stands for a deleted one counts for none.
func (r *Repository) empty(ctx context.Context) (bool, error) {
	const few = 10
	after := ""
	for {
		names, err := r.s.list(ctx, manifestPrefix(r.name), after, few)
		if err != nil || len(names) == 0 {
			return err == nil, err
		}
		for _, name := range names {
			after = name
			d, err := parseDigestName(name)
			if err != nil {
				continue // not of this store
			}
			if _, err := r.Manifest(ctx, d); err == nil {
				return false, nil
			} else if !errors.Is(err, ErrNotFound) {
				return false, err
			}
		}
	}
}

// Exists says whether the repository holds a manifest.
func (r *Repository) Exists(ctx context.Context) (bool, error) {
	empty, err := r.empty(ctx)
	return !empty, err
}
