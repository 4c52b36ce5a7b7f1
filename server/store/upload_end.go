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
	before := now.Add(-age)
	count, err := s.purgeSteps(ctx, before, dryRun)
	if err != nil && !errors.Is(err, driver.ErrPartly) {
		return count, err
	}
	purger, ok := driver.As[driver.Purger](s.d)
	if !ok {
		return count, err
	}
	n, purgeErr := s.purgeDriver(ctx, purger, before, dryRun)
	return count + n, errors.Join(err, purgeErr)
}

// purgeSteps removes the steps of uploads that were begun before that time.
func (s *Store) purgeSteps(ctx context.Context, before time.Time, dryRun bool) (int, error) {
	var failures driver.Failures
	for count, after := 0, ""; ; {
		ids, err := s.list(ctx, uploadsPrefix, after, 1000)
		if err != nil {
			return count, err
		}
		if len(ids) == 0 {
			return count, failures.Err()
		}
		for _, entry := range ids {
			after = entry
			id := strings.TrimSuffix(entry, "/")
			if !uploadStarted(id).Before(before) {
				continue
			}
			if !dryRun {
				err = s.removeUpload(ctx, id)
			}
			if err == nil {
				count++
			}
			if !failures.Note(ctx, err) {
				return count, failures.Err()
			}
		}
	}
}

// A purge after a long time goes on in steps, and notes how far each came, so that one that is interrupted begins there the next time.
const (
	purgeStep     = 48 * time.Hour
	maxPurgeSteps = 16
)

// purgeDriver has the driver look at what was recorded between the last purge and that time.
func (s *Store) purgeDriver(ctx context.Context, purger driver.Purger, before time.Time, dryRun bool) (count int, failed error) {
	last, _, err := s.lastPurge(ctx, before)
	if err != nil {
		return 0, err
	}
	reached, step := last.Before, max(purgeStep, before.Sub(last.Before)/maxPurgeSteps)
	for {
		end := before
		if next := reached.Add(step); next.Before(before) && !dryRun {
			end = next
		}
		n, err := purger.Purge(ctx, reached.Add(-purgeOverlap), end, dryRun)
		count += n
		if err != nil && !errors.Is(err, driver.ErrPartly) {
			return count, err
		}
		if err != nil {
			// It is looked at again by the next purge, and so is what came after it: for as long as a first purge looks back, and no longer.
			failed = err
		}
		if !dryRun && (failed == nil || end.Before(before.Add(-firstPurge))) {
			if err := s.recordPurge(ctx, before, end); err != nil {
				return count, err
			}
		}
		if !end.Before(before) {
			return count, failed
		}
		reached = end
	}
}

// recordPurge notes that everything was looked at that was recorded before end.
func (s *Store) recordPurge(ctx context.Context, before, end time.Time) error {
	last, version, err := s.lastPurge(ctx, before)
	if err != nil || version != "" && !end.After(last.Before) {
		return err
	}
	err = s.d.Replace(ctx, privateKey("purge"), mustJSON(purgeRecord{Before: end}), version)
	if isLostRace(err) {
		err = nil // another purge was as far
	}
	return err
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
