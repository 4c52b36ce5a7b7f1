package schedule

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"
)

// ErrCrashed is what an operation gets from the storage once its process is dead. Nobody hears of it.
var ErrCrashed = errors.New("the process is dead")

// call is one call to the storage.
type call struct {
	method, key string
	// name is the key without what is random in it.
	name string
	// also is a second key that the call reads.
	also string
	// after is where a list begins, and found what it held.
	after string
	found []string
	// writes says that the call changes what lies at its key, and deletes that nothing lies there then.
	writes, deletes bool
	does            func() error
	err             error
	granted         chan struct{}
}

// thread is one operation in a run, or a request that is still under way after its process died.
type thread struct {
	run  *run
	name string
	// mayCrash says that its process can die.
	mayCrash bool
	late     bool

	mu sync.Mutex
	// pending are the calls that wait: more than one where the operation has goroutines of its own.
	pending []*call
	ended   bool
	crashed bool
	// history is a fingerprint of everything that the operation was answered.
	history uint64
	action  *Action
	actions int
	// ids are the upload ids that the operation brought up.
	ids int
}

type threadKey struct{}

func threadOf(ctx context.Context) *thread {
	t, _ := ctx.Value(threadKey{}).(*thread)
	return t
}

// point makes a call, when the scheduler says so.
func point(ctx context.Context, c *call) error {
	t := threadOf(ctx)
	if t == nil {
		return c.does()
	}
	t.mu.Lock()
	if t.crashed {
		t.mu.Unlock()
		return ErrCrashed
	}
	if err := ctx.Err(); err != nil {
		t.mu.Unlock()
		return err
	}
	c.granted = make(chan struct{})
	c.name = t.run.known(t, c.key)
	t.pending = append(t.pending, c)
	t.mu.Unlock()
	<-c.granted
	return c.err
}

// next returns the call that the thread makes next, or nil while it cannot. Of calls that wait at once it is the first
// by its key.
func (t *thread) next() *call {
	t.mu.Lock()
	defer t.mu.Unlock()
	var first *call
	for _, c := range t.pending {
		if first == nil || c.name < first.name || c.name == first.name && c.method < first.method {
			first = c
		}
	}
	return first
}

func (t *thread) take(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, waiting := range t.pending {
		if waiting == c {
			t.pending = append(t.pending[:i], t.pending[i+1:]...)
			return
		}
	}
}

// crash makes all calls of the thread fail from now on.
func (t *thread) crash() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.crashed = true
	for _, c := range t.pending {
		c.err = ErrCrashed
		close(c.granted)
	}
	t.pending = nil
}

func (t *thread) note(parts ...string) {
	for _, part := range parts {
		t.history = mix(t.history, maphash.String(seed, part))
	}
}

var seed = maphash.MakeSeed()

func mix(a, b uint64) uint64 { return maphash.Comparable(seed, [2]uint64{a, b}) }

// Action is one request of a client to the registry: what it asked for, when, and what it was answered.
type Action struct {
	// Thread is the operation's number, and Subject what the operation says that it does.
	Thread  int
	Subject any
	// Began is the number of the action's first call to the storage, and Ended that of its last; it is -1 for an action
	// of which nobody heard the end.
	Began, Ended     int
	BeganAt, EndedAt time.Time
	Err              error
}

// Do does something on behalf of an operation, and notes what came of it.
func Do(ctx context.Context, subject any, action func() error) error {
	t := threadOf(ctx)
	a := &Action{Subject: subject, Began: -1, Ended: -1}
	if t != nil {
		t.mu.Lock()
		a.Thread, t.action = t.run.number(t), a
		t.actions++
		t.mu.Unlock()
	}
	err := action()
	if t == nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.crashed && a.Began >= 0 {
		a.Err, a.Ended, a.EndedAt = err, t.run.steps, time.Now()
		t.run.order("end", t)
	}
	t.action = nil
	return err
}

// Wait lets time pass, for everybody.
func Wait(ctx context.Context, d time.Duration) error {
	return point(ctx, &call{method: "Wait", key: timeKey, writes: true, does: func() error {
		time.Sleep(d)
		return nil
	}})
}
