package store

import (
	"context"
	"testing"
	"time"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// purging notes from when on a driver is asked to look.
type purging struct {
	driver.Driver
	since []time.Time
}

func (p *purging) Purge(_ context.Context, since, _ time.Time, _ bool) (int, error) {
	p.since = append(p.since, since)
	return 0, nil
}

// However long the time between two purges, the later one looks at all that was begun since the earlier one.
func TestPurgesLeaveNoTimeOut(t *testing.T) {
	p := &purging{Driver: inmemory.New()}
	s, err := Open(t.Context(), p)
	must(t, err)
	ages := []time.Duration{5000 * time.Hour, 4000 * time.Hour, 10 * time.Hour, 9 * time.Hour, 9 * time.Hour}
	for _, age := range ages {
		_, err := s.PurgeUploads(t.Context(), age, true)
		must(t, err)
		_, err = s.PurgeUploads(t.Context(), age, false)
		must(t, err)
	}
	for i, age := range ages[:len(ages)-1] {
		reached := time.Now().Add(-age)
		for _, since := range p.since[2*i+2 : 2*i+4] {
			if since.After(reached) || since.Before(reached.Add(-2*time.Hour)) {
				t.Errorf("a purge came to %v, and the next one began at %v", reached, since)
			}
		}
	}
	// What cannot be read is as if there had been no purge.
	_, version, err := p.Read(t.Context(), privateKey("purge"))
	must(t, err)
	must(t, p.Replace(t.Context(), privateKey("purge"), []byte("damaged"), version))
	_, err = s.PurgeUploads(t.Context(), time.Hour, false)
	must(t, err)
	if since := p.since[len(p.since)-1]; time.Since(since) < 29*24*time.Hour {
		t.Errorf("it began at %v", since)
	}
}
