package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// purging notes what a driver is asked to look at, and answers with an error where one is set.
type purging struct {
	driver.Driver
	windows []window
	fail    func(window) error
}

type window struct{ since, before time.Time }

func (p *purging) Purge(_ context.Context, since, before time.Time, _ bool) (int, error) {
	w := window{since, before}
	p.windows = append(p.windows, w)
	if p.fail != nil {
		return 0, p.fail(w)
	}
	return 0, nil
}

// take returns the windows of one purge, and checks that they leave no time out.
func (p *purging) take(t *testing.T) (since, before time.Time) {
	t.Helper()
	all := p.windows
	p.windows = nil
	if len(all) == 0 {
		t.Fatal("the driver was not asked")
	}
	for i, w := range all[1:] {
		if !w.since.Before(all[i].before) {
			t.Errorf("between %v and %v nothing is looked at", all[i].before, w.since)
		}
	}
	return all[0].since, all[len(all)-1].before
}

func openPurging(t *testing.T) (*purging, *Store) {
	p := &purging{Driver: inmemory.New()}
	s, err := Open(t.Context(), p)
	must(t, err)
	return p, s
}

// However long the time between two purges, the later one looks at all that was begun since the earlier one.
func TestPurgesLeaveNoTimeOut(t *testing.T) {
	p, s := openPurging(t)
	var reached time.Time
	for _, age := range []time.Duration{5000 * time.Hour, 4000 * time.Hour, 10 * time.Hour, 9 * time.Hour, 9 * time.Hour} {
		for _, dryRun := range []bool{true, false} {
			_, err := s.PurgeUploads(t.Context(), age, dryRun)
			must(t, err)
			since, before := p.take(t)
			if !reached.IsZero() && (since.After(reached) || since.Before(reached.Add(-2*time.Hour))) {
				t.Errorf("a purge came to %v, and the next one began at %v", reached, since)
			}
			if d := time.Since(before) - age; d < -time.Minute || d > time.Minute {
				t.Errorf("it ended at %v", before)
			}
		}
		reached = time.Now().Add(-age)
	}
	// What cannot be read is as if there had been no purge.
	_, version, err := p.Read(t.Context(), privateKey("purge"))
	must(t, err)
	must(t, p.Replace(t.Context(), privateKey("purge"), []byte("damaged"), version))
	_, err = s.PurgeUploads(t.Context(), time.Hour, false)
	must(t, err)
	if since, _ := p.take(t); time.Since(since) < 29*24*time.Hour {
		t.Errorf("it began at %v", since)
	}
}

// A purge that is interrupted goes on where it was the next time, and not at the beginning.
func TestAPurgeThatIsInterruptedGoesOn(t *testing.T) {
	p, s := openPurging(t)
	down := errors.New("the storage is down")
	var reached time.Time
	p.fail = func(w window) error {
		if len(p.windows) == 4 {
			return down
		}
		reached = w.before
		return nil
	}
	_, err := s.PurgeUploads(t.Context(), time.Hour, false)
	wantErr(t, err, down)
	if len(p.windows) != 4 {
		t.Errorf("it was asked %d times", len(p.windows))
	}
	p.windows, p.fail = nil, nil
	_, err = s.PurgeUploads(t.Context(), time.Hour, false)
	must(t, err)
	if since, _ := p.take(t); since.After(reached) || since.Before(reached.Add(-2*time.Hour)) {
		t.Errorf("the first came to %v, and the next one began at %v", reached, since)
	}
}

// What cannot be removed holds up nothing that came later, and is looked at again.
func TestAPurgeGoesOnAfterWhatItCannotRemove(t *testing.T) {
	p, s := openPurging(t)
	var reached time.Time
	p.fail = func(w window) error {
		if len(p.windows) == 3 {
			return errors.Join(errors.New("damaged"), driver.ErrPartly)
		}
		if len(p.windows) < 3 {
			reached = w.before
		}
		return nil
	}
	_, err := s.PurgeUploads(t.Context(), time.Hour, false)
	wantErr(t, err, driver.ErrPartly)
	if _, before := p.take(t); time.Since(before) > 2*time.Hour {
		t.Errorf("it ended at %v", before)
	}
	p.fail = nil
	_, err = s.PurgeUploads(t.Context(), time.Hour, false)
	must(t, err)
	if since, _ := p.take(t); since.After(reached) || since.Before(reached.Add(-2*time.Hour)) {
		t.Errorf("all before %v was removed, and the next one began at %v", reached, since)
	}
}

// What can never be removed is looked at again as long as a first purge looks back, and not for ever.
func TestAPurgeGivesUpWhatItCanNeverRemove(t *testing.T) {
	p, s := openPurging(t)
	_, err := s.PurgeUploads(t.Context(), 5000*time.Hour, false)
	must(t, err)
	p.take(t)
	p.fail = func(window) error { return errors.Join(errors.New("damaged"), driver.ErrPartly) }
	_, err = s.PurgeUploads(t.Context(), time.Hour, false)
	wantErr(t, err, driver.ErrPartly)
	p.take(t)
	_, err = s.PurgeUploads(t.Context(), time.Hour, false)
	wantErr(t, err, driver.ErrPartly)
	since, _ := p.take(t)
	if ago := time.Since(since); ago < firstPurge || ago > firstPurge+15*24*time.Hour { // and a step of the purge before
		t.Errorf("it began %s ago", ago)
	}
}

// An upload whose steps cannot be removed keeps no other one.
func TestAPurgeGoesOnAfterAnUploadThatItCannotRemove(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, _ *Store) {
		s.now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
		for range 3 {
			u, err := s.Repository("r").NewUpload("sha256")
			must(t, err)
			must(t, s.d.Create(t.Context(), uploadKey(u.ID(), 1), []byte("{}"), driver.Relaxed))
		}
		h.before["remove "+stepName(1)] = func() error { return errors.New("refused") }
		n, err := s.PurgeUploads(t.Context(), time.Hour, false)
		wantErr(t, err, driver.ErrPartly)
		if left, _ := s.d.List(t.Context(), uploadsPrefix, "", 10); n != 2 || len(left) != 1 {
			t.Errorf("purged %d, left %v", n, left)
		}
	})
}
