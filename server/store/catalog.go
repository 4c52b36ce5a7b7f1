package store

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// This file is whether a repository shows in the catalog: while it holds a manifest.

// enterCatalog puts the repository into the catalog after the manifest d was pushed. Where it was not there yet somebody can
// have taken it out just before, as the manifest was deleted at once: nobody else would take it out again.
func (r *Repository) enterCatalog(ctx context.Context, d digest.Digest) error {
	err := r.s.d.Create(ctx, catalogKey(r.name), nil, driver.Durable)
	if err != nil {
		return ignoreExist(err)
	}
	if _, err := r.Head(ctx, d); !errors.Is(err, ErrNotFound) {
		return ignoreDamaged(err)
	}
	return r.leaveCatalog(ctx, d)
}

// leaveCatalog takes the repository out of the catalog when its last manifest is gone, which was d, and back in when one came
// at that moment: the other pusher saw the entry still there. Then it looks again, since that one may be gone by now.
func (r *Repository) leaveCatalog(ctx context.Context, d digest.Digest) error {
	for try := (attempts{}); ; {
		empty, err := r.empty(ctx, d)
		if err != nil || !empty {
			return err
		}
		if err := r.s.d.Delete(ctx, catalogKey(r.name)); err != nil {
			return err
		}
		if empty, err = r.empty(ctx, d); err != nil || empty {
			return err
		}
		if err := ignoreExist(r.s.d.Create(ctx, catalogKey(r.name), nil, driver.Durable)); err != nil {
			return err
		}
		if err := try.again(ctx, r.s, driver.ErrChanged); err != nil {
			return err
		}
	}
}

// empty says whether the repository holds no manifest. What stands for a deleted one counts for none: there may be many of
// these, so that it is looked from another place on after each deletion (of d), and the first manifest is soon found
// wherever those are that went.
func (r *Repository) empty(ctx context.Context, d digest.Digest) (bool, error) {
	start := digestName(digest.FromString(r.name + "@" + string(d)))
	empty, err := r.emptyBetween(ctx, start, "")
	if err != nil || !empty {
		return false, err
	}
	return r.emptyBetween(ctx, "", start)
}

// emptyBetween looks at the names of manifests after the first and up to the last, or to the end where that is empty.
func (r *Repository) emptyBetween(ctx context.Context, after, last string) (bool, error) {
	const few = 10
	for {
		names, err := r.s.list(ctx, manifestPrefix(r.name), after, few)
		if err != nil {
			return false, err
		}
		for _, name := range names {
			if last != "" && name > last {
				return true, nil
			}
			after = name
			d, err := parseDigestName(name)
			if err != nil {
				continue // not of this store
			}
			if _, err := r.Head(ctx, d); err == nil || errors.Is(err, ErrDamaged) {
				return false, nil // one that cannot be read is there all the same
			} else if !errors.Is(err, ErrNotFound) {
				return false, err
			}
		}
		if len(names) < few {
			return true, nil
		}
	}
}

// Exists says whether the repository holds a manifest.
func (r *Repository) Exists(ctx context.Context) (bool, error) {
	empty, err := r.empty(ctx, "")
	return !empty, err
}
