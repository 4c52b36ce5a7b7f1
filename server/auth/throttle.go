package auth

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// ThrottledError is returned where a source must wait before another of its passwords is looked at.
type ThrottledError struct {
	// RetryAfter is for how long.
	RetryAfter time.Duration
}

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("too many wrong passwords from there; try again in %s", e.RetryAfter.Round(time.Second))
}

// What a source may do before it is slowed down, and how much.
const (
	freeFailures = 5
	firstPause   = time.Second
	longestPause = time.Minute
	// forgetAfter is how long a source must be quiet to begin anew.
	forgetAfter = 10 * time.Minute
	// suspectSlots is how many passwords of a source that has failed may be computed at once, trustedSlots of another.
	suspectSlots, trustedSlots = 2, 64
	// maxSources bounds the memory of sources.
	maxSources = 10_000
	// maxWaiting bounds how many computations wait for a processor, so that a right password waits no longer than they.
	maxWaiting = 128
)

// throttle slows down sources of wrong passwords. What it refuses costs no computation.
type throttle struct {
	now func() time.Time

	mu      sync.Mutex
	sources map[netip.Prefix]*source
	waiting int
}

type source struct {
	failures int
	running  int
	until    time.Time
	last     time.Time
}

func newThrottle() *throttle {
	return &throttle{now: time.Now, sources: map[netip.Prefix]*source{}}
}

// network is what counts as one source: an IPv4 address, or the 64 bits of IPv6 that one customer has.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.WithZone("").Prefix(bits) //nolint:errcheck // an invalid address makes the zero prefix, a source too
	return prefix
}

// enter asks for a computation. done must be called with its result.
func (t *throttle) enter(addr netip.Addr) (done func(denied bool), err error) {
	key := network(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	s := t.source(key, now)
	slots := trustedSlots
	if s.failures > 0 {
		slots = suspectSlots
	}
	switch {
	case now.Before(s.until):
		return nil, &ThrottledError{RetryAfter: s.until.Sub(now)}
	case s.running >= slots, t.waiting >= maxWaiting:
		return nil, &ThrottledError{RetryAfter: firstPause}
	}
	s.running++
	s.last = now
	t.waiting++
	return func(denied bool) { t.leave(s, denied) }, nil
}

func (t *throttle) leave(s *source, denied bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.running--
	t.waiting--
	s.last = t.now()
	if !denied {
		s.failures, s.until = 0, time.Time{}
		return
	}
	s.failures++
	if over := s.failures - freeFailures; over > 0 {
		s.until = s.last.Add(min(firstPause<<min(over-1, 10), longestPause))
	}
}

// source finds or makes a source's record.
func (t *throttle) source(key netip.Prefix, now time.Time) *source {
	if s, ok := t.sources[key]; ok {
		if now.Sub(s.last) > forgetAfter && s.running == 0 {
			*s = source{}
		}
		return s
	}
	if len(t.sources) >= maxSources {
		t.forget(now)
	}
	s := &source{last: now}
	t.sources[key] = s
	return s
}

// forget makes room: quiet sources go first, then any that nothing is computed for.
func (t *throttle) forget(now time.Time) {
	for key, s := range t.sources {
		if s.running == 0 && now.Sub(s.last) > forgetAfter {
			delete(t.sources, key)
		}
	}
	for key, s := range t.sources {
		if len(t.sources) < maxSources {
			return
		}
		if s.running == 0 {
			delete(t.sources, key)
		}
	}
}
