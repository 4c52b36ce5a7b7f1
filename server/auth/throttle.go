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
	budgetInterval = 2 * time.Second
	// maxQueued is how many requests of a source wait until its budget allows another computation, so that a right password
	// gets through while somebody behind the same address guesses; maxQueuedOverall, how many of all sources.
	maxQueued, maxQueuedOverall = 8, 1024
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
// its address. Over all users a source has a budget. Where that is spent a few requests wait, in order, for what is forgiven.
type throttle struct {
	now  func() time.Time
	seed maphash.Seed

	mu      sync.Mutex
	sources records[netip.Prefix]
	users   records[userKey]
	waiting int
	queued  int
}

// userKey is a user's name at one source.
type userKey struct {
	source netip.Prefix
	name   uint64
}

// record is what is known of a source, or of a user at a source.
type record struct {
	running int
	// queued is how many wait until a source's budget lets them in.
	queued int
	last   time.Time
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

// enter asks for a computation, and waits for it where the source's budget is spent and few others wait. done must be called
// with its result.
func (t *throttle) enter(addr netip.Addr, user string) (done func(denied bool), err error) {
	from := network(addr)
	who := userKey{from, maphash.String(t.seed, user)}
	wait, err := t.enqueue(from, who)
	if err != nil {
		return nil, err
	}
	if wait > 0 {
		time.Sleep(wait)
	}
	return t.admit(from, who, wait > 0)
}

// enqueue returns how long the request must wait for the source's budget, and takes a place in the queue if it must. It makes
// no record, so that what is refused takes no room.
func (t *throttle) enqueue(from netip.Prefix, who userKey) (wait time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if err := t.users[who].paused(now); err != nil {
		return 0, err
	}
	source := t.sources[from]
	if source == nil {
		return 0, nil
	}
	source.forgive(now)
	// What is computed, or waits, may turn out wrong too.
	over := source.failures + source.running + source.queued - sourceBudget + 1
	if over <= 0 || source.failures < sourceBudget/2 {
		return 0, nil
	}
	if wait = source.forgiven.Add(time.Duration(over) * budgetInterval).Sub(now); wait <= 0 {
		return 0, nil
	}
	if source.queued >= maxQueued || t.queued >= maxQueuedOverall {
		return 0, &ThrottledError{RetryAfter: source.forgiven.Add(budgetInterval).Sub(now)}
	}
	source.queued++
	t.queued++
	return wait, nil
}

// admit lets a request in that needs not wait, or has waited.
func (t *throttle) admit(from netip.Prefix, who userKey, waited bool) (done func(denied bool), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	source, user := t.sources[from], t.users[who]
	if waited {
		source.queued-- // a record in whose queue somebody waits is not forgotten
		t.queued--
	}
	if err := user.paused(now); err != nil {
		return nil, err
	}
	if source != nil {
		source.forgive(now)
		if !waited && source.running >= slots(source.failures >= sourceBudget/2) {
			return nil, &ThrottledError{RetryAfter: firstPause}
		}
	}
	if user != nil && user.running >= slots(user.failures > 0) || t.waiting >= maxWaiting {
		return nil, &ThrottledError{RetryAfter: firstPause}
	}
	source, user = t.sources.find(from, now), t.users.find(who, now)
	source.running++
	user.running++
	source.last, user.last = now, now
	t.waiting++
	return func(denied bool) { t.leave(source, user, denied) }, nil
}

// paused returns an error while a user must pause.
func (r *record) paused(now time.Time) error {
	if r == nil || !now.Before(r.until) {
		return nil
	}
	return &ThrottledError{RetryAfter: r.until.Sub(now)}
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
		if r.quiet(now) {
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

// busy says that somebody still uses the record.
func (r *record) busy() bool { return r.running > 0 || r.queued > 0 }

// quiet says that nothing has happened for so long that all begins anew.
func (r *record) quiet(now time.Time) bool { return !r.busy() && now.Sub(r.last) > forgetAfter }

// forget makes room for a tenth at once, so that not each new record costs a walk over all. Records that say nothing go
// first, then any that nobody uses.
func (m records[K]) forget(now time.Time) {
	for key, r := range m {
		if r.quiet(now) || !r.busy() && r.failures == 0 {
			delete(m, key)
		}
	}
	for key, r := range m {
		if len(m) <= maxRecords-maxRecords/10 {
			return
		}
		if !r.busy() {
			delete(m, key)
		}
	}
}
