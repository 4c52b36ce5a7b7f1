package auth

import (
	"fmt"
	"hash/maphash"
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

// What may be tried before it is slowed down, and how much.
const (
	// freeFailures is how many wrong passwords of one user a source may send before it must pause for that user.
	freeFailures = 5
	firstPause   = time.Second
	longestPause = time.Minute
	// sourceBudget is how many wrong passwords of all users together a source may send, and budgetInterval the time after
	// which one of them is forgiven: who tries one password on many users gains little.
	sourceBudget   = 20
	budgetInterval = 10 * time.Second
	// forgetAfter is how long a source must be quiet to begin anew.
	forgetAfter = 10 * time.Minute
	// suspectSlots is how many passwords may be computed at once for a user that has failed from there or for a source
	// that has spent half of its budget, trustedSlots for another.
	suspectSlots, trustedSlots = 2, 64
	// maxRecords bounds the memory of sources, and of their users.
	maxRecords = 10_000
	// maxWaiting bounds how many computations wait for a processor, so that a right password waits no longer than they.
	maxWaiting = 128
)

// throttle slows down wrong passwords. What it refuses costs no computation.
//
// Pauses count for one user at one source, so that a client with a wrong password does not keep out the others behind
// its address. Over all users a source has a budget.
type throttle struct {
	now  func() time.Time
	seed maphash.Seed

	mu      sync.Mutex
	sources records[netip.Prefix]
	users   records[userKey]
	waiting int
}

// userKey is a user's name at one source.
type userKey struct {
	source netip.Prefix
	name   uint64
}

// record is what is known of a source, or of a user at a source.
type record struct {
	running int
	last    time.Time
	// failures are those that count: of a user since the last right password, of a source those not forgiven yet.
	failures int
	// until is the end of a user's pause; forgiven, when the last of a source's failures was.
	until, forgiven time.Time
}

func newThrottle() *throttle {
	return &throttle{now: time.Now, seed: maphash.MakeSeed(), sources: records[netip.Prefix]{}, users: records[userKey]{}}
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
func (t *throttle) enter(addr netip.Addr, user string) (done func(denied bool), err error) {
	from := network(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	source, who := t.sources.find(from, now), t.users.find(userKey{from, maphash.String(t.seed, user)}, now)
	source.forgive(now)
	switch {
	case now.Before(who.until):
		return nil, &ThrottledError{RetryAfter: who.until.Sub(now)}
	case source.failures >= sourceBudget:
		return nil, &ThrottledError{RetryAfter: source.forgiven.Add(budgetInterval).Sub(now)}
	case source.running >= slots(source.failures >= sourceBudget/2), who.running >= slots(who.failures > 0), t.waiting >= maxWaiting:
		return nil, &ThrottledError{RetryAfter: firstPause}
	}
	source.running++
	who.running++
	source.last, who.last = now, now
	t.waiting++
	return func(denied bool) { t.leave(source, who, denied) }, nil
}

func slots(suspect bool) int {
	if suspect {
		return suspectSlots
	}
	return trustedSlots
}

func (t *throttle) leave(source, who *record, denied bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	source.running--
	who.running--
	t.waiting--
	source.last, who.last = now, now
	if !denied {
		who.failures, who.until = 0, time.Time{}
		return
	}
	who.failures++
	if over := who.failures - freeFailures; over > 0 {
		who.until = now.Add(min(firstPause<<min(over-1, 10), longestPause))
	}
	if source.failures == 0 {
		source.forgiven = now
	}
	source.failures = min(source.failures+1, sourceBudget)
}

// forgive takes back the failures of a source that are long enough ago.
func (r *record) forgive(now time.Time) {
	n := int(now.Sub(r.forgiven) / budgetInterval)
	if r.failures == 0 || n <= 0 {
		return
	}
	r.failures -= min(n, r.failures)
	r.forgiven = r.forgiven.Add(time.Duration(n) * budgetInterval)
}

// records is a bounded memory.
type records[K comparable] map[K]*record

// find finds or makes a record.
func (m records[K]) find(key K, now time.Time) *record {
	if r, ok := m[key]; ok {
		if now.Sub(r.last) > forgetAfter && r.running == 0 {
			*r = record{last: now}
		}
		return r
	}
	if len(m) >= maxRecords {
		m.forget(now)
	}
	r := &record{last: now}
	m[key] = r
	return r
}

// forget makes room: quiet records go first, then any that nothing is computed for.
func (m records[K]) forget(now time.Time) {
	for key, r := range m {
		if r.running == 0 && now.Sub(r.last) > forgetAfter {
			delete(m, key)
		}
	}
	for key, r := range m {
		if len(m) < maxRecords {
			return
		}
		if r.running == 0 {
			delete(m, key)
		}
	}
}
