package store

import (
	"context"
	"strings"
	"time"

	"packregistry.dev/server/store/driver"
)

// This file ends uploads that were not committed: those that their clients cancel, and those that are too old.

// Cancel ends the upload.
func (u *Upload) Cancel(ctx context.Context) error {
	ctx = driver.WithReserve(ctx)
	if err := u.r.s.endUpload(ctx, u.id); err != nil {
		return err
	}
	if err := u.r.s.d.Discard(ctx, u.id); err != nil {
		return err
	}
	return u.removeSteps(ctx)
}

func (s *Store) removeUpload(ctx context.Context, id string) error {
	if err := s.d.Discard(ctx, id); err != nil {
		return err
	}
	for {
		names, err := s.list(ctx, uploadPrefix(id), "", 1000)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if err := s.d.Delete(ctx, uploadPrefix(id)+name); err != nil {
				return err
			}
		}
	}
}

// PurgeUploads forgets uploads that were begun longer ago than age, by the storage's clock, and returns how many those
// were. With dryRun it only counts.
func (s *Store) PurgeUploads(ctx context.Context, age time.Duration, dryRun bool) (int, error) {
	ctx = driver.WithReserve(ctx)
	now, err := s.clock(ctx, dryRun)
	if err != nil {
		return 0, err
	}
	count, after, before := 0, "", now.Add(-age)
	for {
		ids, err := s.list(ctx, uploadsPrefix, after, 1000)
		if err != nil {
			return count, err
		}
		if len(ids) == 0 {
			break
		}
		for _, entry := range ids {
			after = entry
			id := strings.TrimSuffix(entry, "/")
			if !uploadStarted(id).Before(before) {
				continue
			}
			count++
			if dryRun {
				continue
			}
			if err := s.removeUpload(ctx, id); err != nil {
				return count, err
			}
		}
	}
	purger, ok := driver.As[driver.Purger](s.d)
	if !ok {
		return count, nil
	}
	n, err := purger.Purge(ctx, before, dryRun)
	return count + n, err
}
