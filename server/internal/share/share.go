// Package share gives out what there is only so much of (places, bytes of memory) so that nobody can take all of it.
//
// A holder, one user or one address, may take more only while it holds no more than is free after that, a quarter of all not counted. That
// quarter is kept for holders of nothing or of little. So the first takes three eighths at most, the next half of that, and so on, and
// the quarter goes to many: it takes more than a quarter of size holders to take all places of a pool. Who has so many addresses, or users,
// can; there is no bound by holders alone that would not also keep out who comes honestly. What all hold at once is given
// back sooner or later, since whoever holds something must make progress; what is free then goes to those who wait, first to who holds
// least.
package share

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrCrowded is returned at once where too many wait already.
var ErrCrowded = errors.New("too many are waiting already")

// maxWaiting is how many requests wait of one holder, maxWaitingOverall of all of them.
const maxWaiting, maxWaitingOverall = 256, 4096

// Pool is so many units of something.
type Pool struct {
	size, least int64
	// kept is how much is there for holders of no more than little.
	kept, little int64

	mu      sync.Mutex
	free    int64
	holders map[string]*holder
	waiters []*waiter
}

type holder struct {
	held    int64
	waiting int
}

type waiter struct {
	name  string
	n     int64
	taken chan struct{}
}

// New makes a pool. least is what the largest request needs: a holder may have so much in any case, if it is there. A quarter is kept
// for holders of a sixteenth of that, or of one unit, unless the largest request needs it.
func New(size, least int64) *Pool {
	kept := max(0, min(size/4, size-least))
	return &Pool{size: size, least: least, kept: kept, little: max(1, least/16), free: size, holders: map[string]*holder{}}
}

// Size is how much there is, Taken how much of it is taken.
func (p *Pool) Size() int64 { return p.size }

// Taken is how much of it is taken.
func (p *Pool) Taken() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size - p.free
}

// Acquire takes n for a holder, or waits for it until the context ends.
func (p *Pool) Acquire(ctx context.Context, name string, n int64) error {
	p.mu.Lock()
	if p.take(name, n) {
		p.mu.Unlock()
		return nil
	}
	h := p.holder(name)
	if h.waiting >= maxWaiting || len(p.waiters) >= maxWaitingOverall {
		p.forget(name)
		p.mu.Unlock()
		return ErrCrowded
	}
	h.waiting++
	w := &waiter{name, n, make(chan struct{})}
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	select {
	case <-w.taken:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-w.taken: // in this very moment
		return nil
	default:
	}
	p.leave(w)
	return ctx.Err()
}

// TryAcquire takes n for a holder if it need not wait for it.
func (p *Pool) TryAcquire(name string, n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(name, n)
}

// Release gives back what was taken, to whoever waits for it.
func (p *Pool) Release(name string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holder(name).held -= n
	p.free += n
	p.forget(name)
	for w := p.next(); w != nil; w = p.next() {
		p.leave(w)
		p.give(w.name, w.n)
		close(w.taken)
	}
}

// take takes n if the holder may: whoever waits may not have what is free.
func (p *Pool) take(name string, n int64) bool {
	if !p.may(name, n) {
		return false
	}
	p.give(name, n)
	return true
}

func (p *Pool) give(name string, n int64) {
	p.holder(name).held += n
	p.free -= n
}

// may says whether n is there, and no more than the holder's share.
func (p *Pool) may(name string, n int64) bool {
	var held int64
	if h := p.holders[name]; h != nil {
		held = h.held
	}
	switch spare := p.free - p.kept; {
	case p.free == p.size: // nobody would come to harm
		return n <= p.free
	case held+n <= p.little:
		return n <= p.free
	case held+n <= p.least:
		return n <= spare
	default:
		return held+n <= spare
	}
}

// next is who is given what is free: of those who wait and may have it who holds least, and of these who came first. A small piece
// passes a large one by: else who asks for much would keep it from all others.
func (p *Pool) next() *waiter {
	var first *waiter
	var least int64
	for _, w := range p.waiters {
		if held := p.holders[w.name].held; (first == nil || held < least) && p.may(w.name, w.n) {
			first, least = w, held
		}
	}
	return first
}

func (p *Pool) leave(w *waiter) {
	i := slices.Index(p.waiters, w)
	p.waiters = slices.Delete(p.waiters, i, i+1)
	p.holders[w.name].waiting--
	p.forget(w.name)
}

func (p *Pool) holder(name string) *holder {
	h := p.holders[name]
	if h == nil {
		h = &holder{}
		p.holders[name] = h
	}
	return h
}

// forget drops a holder that has nothing and wants nothing.
func (p *Pool) forget(name string) {
	if h := p.holders[name]; h != nil && h.held == 0 && h.waiting == 0 {
		delete(p.holders, name)
	}
}
