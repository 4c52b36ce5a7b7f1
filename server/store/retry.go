package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Bounds of how often a write is tried again that lost to another writer: each loss means that somebody else came further,
// so the bound is for a storage that refuses every time, and the delay for many writers of one object.
const (
	maxAttempts = 100
	minDelay    = time.Millisecond
	maxDelay    = 200 * time.Millisecond
)

// errBusy ends what lost to others too often.
var errBusy = fmt.Errorf("others keep changing it: %w", ErrTryAgain)

// attempts paces the repetition of something that lost to another writer. Its zero value is ready.
type attempts struct{ lost int }

// again waits before the next attempt: not at all the first time, and longer each time after. It returns an error where
// the caller gave up, or where there were too many attempts; cause is why the last one failed.
func (a *attempts) again(ctx context.Context, s *Store, cause error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.lost++
	if a.lost >= maxAttempts {
		return fmt.Errorf("%w (%d times in a row: %v)", errBusy, a.lost, cause) //nolint:errorlint // the caller must not take it for one more loss
	}
	if a.lost == 1 {
		return nil
	}
	delay := min(minDelay<<min(a.lost-2, 16), maxDelay)
	return s.sleep(ctx, delay/2+rand.N(delay/2+1)) //nolint:gosec // nobody gains by guessing it
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
