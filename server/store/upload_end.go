package store

import (
	"context"
	"errors"
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
	last, version, err := s.lastPurge(ctx, before)
	if err != nil {
		return count, err
	}
	n, err := purger.Purge(ctx, last.Before.Add(-purgeOverlap), before, dryRun)
	if err != nil || dryRun || !before.After(last.Before) {
		return count + n, err
	}
	err = s.d.Replace(ctx, privateKey("purge"), mustJSON(purgeRecord{Before: before}), version)
	if isLostRace(err) {
		err = nil // another purge was as far
	}
	return count + n, err
}

// purgeRecord is how far a purge came: whatever was recorded before that time was looked at.
type purgeRecord struct {
	Before time.Time `json:"before"`
}

// purgeOverlap is how much of that is looked at once more, since clocks differ.
const purgeOverlap = time.Hour

// firstPurge is how far back a store is looked at of which it is not known how far purges came.
const firstPurge = 30 * 24 * time.Hour

func (s *Store) lastPurge(ctx context.Context, before time.Time) (purgeRecord, driver.Version, error) {
	data, version, err := s.d.Read(ctx, privateKey("purge"))
	if err != nil && !errors.Is(err, driver.ErrNotExist) {
		return purgeRecord{}, "", err
	}
	last, parseErr := parseJSON[purgeRecord](data)
	if err != nil || parseErr != nil || last.Before.IsZero() {
		last.Before = before.Add(-firstPurge)
	}
	return last, version, nil
}
