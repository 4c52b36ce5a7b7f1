package auth

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"packregistry.dev/server/internal/clientip"
)

// ThrottledError is returned where a source must wait before another of its passwords is looked at.
type ThrottledError struct {
	// RetryAfter is for how long.
	RetryAfter time.Duration
}

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("too many wrong passwords from there; try again in %s", e.RetryAfter.Round(time.Second))
}

// What is computed of one source's passwords. It must be slow for who guesses, and quick for who is right and only shares an
// address, or even a user's name, with who guesses: nothing tells these two apart before the password is computed.
var (
	// perUser holds for one user's passwords from one source, perSource for those of all users.
	perUser   = limit{burst: 5, interval: 4 * time.Second}
	perSource = limit{burst: 20, interval: 2 * time.Second}
)

const (
	// longestWait is how long a request waits for these limits, before it is refused with Retry-After.
	longestWait = 8 * time.Second
	// maxQueued is how many of a source wait, maxQueuedOfUser how many of them for one user, maxQueuedOverall how many of all.
	maxQueued, maxQueuedOfUser, maxQueuedOverall = 64, 8, 1024
	// suspectedFor is how long a user has failed from somewhere.
	suspectedFor = 10 * time.Minute
	// maxRecords bounds the memory of sources, and of their users.
	maxRecords = 10_000
	// shortestRetry is the least Retry-After of a request that is refused.
	shortestRetry = time.Second
)

// throttle slows down wrong passwords. What it refuses costs no computation.
//
// Failures are counted for one user at one source, so that a client with a wrong password does not keep out the others behind
// its address, and over all users of a source. Who comes when these limits are reached waits for what is forgiven.
type throttle struct {
	seed maphash.Seed

	mu      sync.Mutex
	sources records[netip.Prefix]
	users   records[userKey]
	// computing is how many computations run or wait for a processor; maxComputing bounds it, so that a right password
	// does not wait long behind them.
	computing, maxComputing int
	queued                  int
}

// inOrder is how many of those who wait for a limit are let in in the order in which they came: as many as it lets in while one
// waits. Of more than that one is drawn, so that who keeps the queue full has its share of draws and no more.
func (l limit) inOrder() int { return int(longestWait / l.interval) }

// userKey is a user's name at one source.
type userKey struct {
	source netip.Prefix
	name   uint64
}

// record is what is known of a source, or of a user at a source.
type record struct {
	budget
	// waiting is how many wait until they may be computed; of a source these are the queue, in the order in which they came.
	waiting int
	queue   []*waiter
	// timer looks at the queue again when that may change something. draws counts those who were let in after waiting.
	timer *time.Timer
	draws int
	// failed is when a user failed last, since the last right password.
	failed time.Time
}

func (r *record) suspected(now time.Time) bool { return now.Sub(r.failed) < suspectedFor }

// waiter is a request that asks for a computation.
type waiter struct {
	source, user *record
	until        time.Time
	answer       chan error
}

func newThrottle() *throttle {
	return &throttle{seed: maphash.MakeSeed(), sources: records[netip.Prefix]{}, users: records[userKey]{}, maxComputing: maxComputing(0)}
}

// maxComputing is how many computations wait for a processor at most, for the highest cost of a users' file: as many as two
// processors do in some eight seconds.
func maxComputing(cost int) int {
	const most, cheap = 128, 11
	return most >> max(0, cost-cheap)
}

// setCost says what computations cost from now on.
func (t *throttle) setCost(cost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.maxComputing = maxComputing(cost)
}

// enter asks for a computation, and waits for it where the user's or the source's limit is reached. done must be called with
// its result. Who gives up gives the place in the queue back.
func (t *throttle) enter(ctx context.Context, addr netip.Addr, user string) (done func(outcome), err error) {
	from := clientip.Network(addr)
	w, err := t.enqueue(from, userKey{from, maphash.String(t.seed, user)})
	if err != nil {
		return nil, err
	}
	select {
	case err = <-w.answer:
	case <-ctx.Done():
		err = t.giveUp(ctx, w)
	}
	if err != nil {
		return nil, err
	}
	return func(o outcome) { t.leave(w, o) }, nil
}

// giveUp takes a request out of the queue, unless it was answered in this very moment.
func (t *throttle) giveUp(ctx context.Context, w *waiter) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case err := <-w.answer:
		return err
	default:
	}
	t.dequeue(w)
	return ctx.Err()
}

// enqueue takes a place in the queue of a source, from where who need not wait is let in at once.
func (t *throttle) enqueue(from netip.Prefix, who userKey) (*waiter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	// What is refused makes no record, so that it takes no room.
	if err := t.refuse(t.sources[from], t.users[who], now); err != nil {
		return nil, err
	}
	w := &waiter{source: t.sources.find(from, perSource, now), user: t.users.find(who, perUser, now), until: now.Add(longestWait), answer: make(chan error, 1)}
	w.source.queue = append(w.source.queue, w)
	w.source.waiting++
	w.user.waiting++
	t.queued++
	t.advance(w.source, now)
	return w, nil
}

// refuse returns an error where there is no place in which to wait.
func (t *throttle) refuse(source, user *record, now time.Time) error {
	switch {
	case t.computing >= t.maxComputing, t.queued >= maxQueuedOverall:
		return &ThrottledError{RetryAfter: shortestRetry}
	case user != nil && user.waiting >= maxQueuedOfUser:
		return &ThrottledError{RetryAfter: max(shortestRetry, perUser.wait(&user.budget, now))}
	case source != nil && source.waiting >= maxQueued:
		return &ThrottledError{RetryAfter: max(shortestRetry, perSource.wait(&source.budget, now))}
	}
	return nil
}

// advance lets in from a source's queue whoever may, refuses who waited too long, and sees to it that the queue is looked at
// again.
func (t *throttle) advance(source *record, now time.Time) {
	for {
		w := t.draw(source, now)
		if w == nil {
			break
		}
		t.dequeue(w)
		if t.computing >= t.maxComputing {
			w.answer <- &ThrottledError{RetryAfter: shortestRetry}
			continue
		}
		source.running++
		w.user.running++
		t.computing++
		w.answer <- nil
	}
	for _, w := range slices.Clone(source.queue) {
		if !now.Before(w.until) {
			t.dequeue(w)
			w.answer <- &ThrottledError{RetryAfter: shortestRetry}
		}
	}
	if source.timer != nil {
		source.timer.Stop()
		source.timer = nil
	}
	if len(source.queue) == 0 {
		return
	}
	// Whatever else changes something comes by itself.
	wait := longestWait
	if left := perSource.wait(&source.budget, now); left > 0 {
		wait = left
	}
	for _, w := range source.queue {
		wait = min(wait, w.until.Sub(now))
		if left := perUser.wait(&w.user.budget, now); left > 0 {
			wait = min(wait, left)
		}
	}
	source.timer = time.AfterFunc(wait, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.advance(source, time.Now())
	})
}

// draw returns who of a source's queue is to be let in now, or nil. While few wait they come in order; of many one is drawn.
// Every second one is of those whose user has not failed from there, if there are any.
func (t *throttle) draw(source *record, now time.Time) *waiter {
	if !perSource.free(&source.budget, now) || source.running >= max(1, t.maxComputing/2) {
		return nil
	}
	var candidates, unsuspected []*waiter
	for _, w := range source.queue {
		switch {
		case !perUser.free(&w.user.budget, now):
			continue
		case !w.user.suspected(now):
			unsuspected = append(unsuspected, w)
		}
		candidates = append(candidates, w)
	}
	if len(candidates) == 0 {
		return nil
	}
	if source.draws++; source.draws%2 == 0 && len(unsuspected) > 0 {
		candidates = unsuspected
	}
	first := candidates[0]
	if len(candidates) > perSource.inOrder() {
		first = candidates[rand.IntN(len(candidates))] //nolint:gosec // nothing is won by foreseeing it
	}
	// The same among those of one user.
	same := slices.DeleteFunc(slices.Clone(source.queue), func(w *waiter) bool { return w.user != first.user })
	if len(same) > perUser.inOrder() {
		return same[rand.IntN(len(same))] //nolint:gosec // see above
	}
	return same[0]
}

// dequeue gives a waiter's place back.
func (t *throttle) dequeue(w *waiter) {
	at := slices.Index(w.source.queue, w)
	w.source.queue = slices.Delete(w.source.queue, at, at+1)
	w.source.waiting--
	w.user.waiting--
	t.queued--
}

// outcome is what came of a computation.
type outcome int

const (
	denied outcome = iota
	accepted
	// unknown is the outcome where it was given up before it began.
	unknown
)

// leave ends a computation. A right password forgives the failures of its user, and nothing that was counted for others.
func (t *throttle) leave(w *waiter, o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	w.source.running--
	w.user.running--
	t.computing--
	switch o {
	case denied:
		w.user.failed = now
		perUser.fail(&w.user.budget, now)
		perSource.fail(&w.source.budget, now)
	case accepted:
		w.user.clean, w.user.failed = time.Time{}, time.Time{}
	}
	t.advance(w.source, now)
}

// records is a bounded memory.
type records[K comparable] map[K]*record

// find finds or makes a record.
func (m records[K]) find(key K, l limit, now time.Time) *record {
	if r, ok := m[key]; ok {
		return r
	}
	if len(m) >= maxRecords {
		m.forget(l, now)
	}
	r := &record{}
	m[key] = r
	return r
}

// busy says that somebody still uses the record.
func (r *record) busy() bool { return r.running > 0 || r.waiting > 0 }

// forget makes room for a tenth at once, so that not each new record costs a walk over all. Records that say nothing go
// first, then any that nobody uses.
func (m records[K]) forget(l limit, now time.Time) {
	for key, r := range m {
		if !r.busy() && l.failures(&r.budget, now) == 0 && !r.suspected(now) {
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
