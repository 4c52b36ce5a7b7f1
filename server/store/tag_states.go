package store

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"packregistry.dev/server/store/driver"
)

// This file is a repository's tags with the versions of their records, by which it shows that nothing has changed since, without
// reading any of them.

// Tag is what a tag's record says.
type Tag struct {
	Digest digest.Digest
	// Time and By say when the tag was set, and by whom.
	Time time.Time
	By   string
}

// ReadTag returns what a tag's record says. Whether its manifest is still there is not looked at.
func (r *Repository) ReadTag(ctx context.Context, tag string) (Tag, error) {
	t, _, err := r.tag(ctx, tag)
	return Tag{t.Digest, t.Time, t.By}, err
}

// maxTagStates bounds how many tags of a repository TagStates returns.
const maxTagStates = 10_000

// TagStates returns the tags of a repository, in byte order, each with the version of its record: what a tag names has not changed while
// that has not. It makes lists alone, unless a tag may be dead. With recorded, which tags may be dead is left alone: tombstones, and tags whose
// deletion was interrupted, are among those that are returned.
func (r *Repository) TagStates(ctx context.Context, recorded bool) ([]driver.Entry, error) {
	var entries []driver.Entry
	var deletions []string
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for after := ""; ; {
			page, more, err := driver.ListVersions(groupCtx, r.s.d, tagPrefix(r.name), after, deletionPage)
			if err != nil {
				return err
			}
			for _, e := range page {
				if ValidTag(e.Name) {
					entries = append(entries, e)
				}
			}
			if len(entries) > maxTagStates {
				entries = entries[:maxTagStates]
				return nil
			}
			if after = more; more == "" {
				return nil
			}
		}
	})
	if !recorded {
		group.Go(func() (err error) {
			deletions, err = r.s.list(groupCtx, deletionPrefix(r.name), "", deletionPage)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("list the tags of %s: %w", r.name, err)
	}
	if len(entries) == 0 || len(deletions) == 0 {
		return entries, nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	suspects, err := r.suspects(ctx, "", names, deletions)
	if err != nil {
		return nil, err
	}
	dead, err := r.deadOf(ctx, suspects)
	if err != nil {
		return nil, err
	}
	alive := entries[:0]
	for _, e := range entries {
		if !dead[e.Name] {
			alive = append(alive, e)
		}
	}
	return alive, nil
}
