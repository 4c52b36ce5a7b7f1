// Package work bounds how many of the processors long computations take at once, so that short ones find a processor free.
//
// A Gate lets in as many tasks as it has slots; the others wait. A slot is held for computing alone: a task gives it back while
// it reads or writes (Reader, Writer), so that a slow client or storage holds none, and every few milliseconds where others wait. What is
// free goes to the holder, one user or one address, that has computed least since it began to wait for something, so
// that each gets as much of the processors as any other, however many tasks it has.
package work

import (
	"bufio"
	"context"
	"io"
	"runtime"
	"sync"
	"time"
)

// slice is how long a task computes before others that wait are let in.
const slice = 5 * time.Millisecond

// Gate lets in so many tasks at once.
type Gate struct {
	slots int

	mu      sync.Mutex
	free    int
	waiting int
	// used is how much the holder that was let in last had computed. Who comes anew begins there: nobody saves up time.
	used    time.Duration
	holders map[string]*holder
}

// holder is a user or an address with tasks that compute or wait, or that has computed more than others who wait.
type holder struct {
	used    time.Duration
	running int
	queue   []chan struct{}
}

// New makes a gate for half of the processors.
func New() *Gate { return withSlots(max(1, runtime.GOMAXPROCS(0)/2)) }

func withSlots(n int) *Gate { return &Gate{slots: n, free: n, holders: map[string]*holder{}} }

// Slots is how many tasks compute at once at most.
func (g *Gate) Slots() int { return g.slots }

// enter waits for a slot.
func (g *Gate) enter(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.mu.Lock()
	h := g.holders[name]
	if h == nil {
		h = &holder{used: g.used}
		g.holders[name] = h
	}
	if h.running == 0 && len(h.queue) == 0 {
		h.used = max(h.used, g.used)
	}
	if g.free > 0 {
		g.let(h)
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	h.queue = append(h.queue, turn)
	g.waiting++
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range h.queue {
		if other == turn {
			h.queue = append(h.queue[:i], h.queue[i+1:]...)
			g.waiting--
			g.forget(name, h)
			return ctx.Err()
		}
	}
	return nil // it was let in in this very moment
}

func (g *Gate) let(h *holder) {
	g.free--
	h.running++
	g.used = max(g.used, h.used)
}

// leave gives a slot back after so much computing, to whoever waits for it.
func (g *Gate) leave(name string, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.holders[name]
	h.used += took
	h.running--
	g.free++
	if g.waiting == 0 {
		for name, h := range g.holders { // nobody came off badly
			h.used = 0
			g.forget(name, h)
		}
		g.used = 0
		return
	}
	var next *holder
	for name, h := range g.holders {
		if len(h.queue) == 0 {
			g.forget(name, h)
		} else if next == nil || h.used < next.used {
			next = h
		}
	}
	close(next.queue[0])
	next.queue = next.queue[1:]
	g.waiting--
	g.let(next)
}

// forget drops a holder that neither computes nor waits, and has computed no more than others.
func (g *Gate) forget(name string, h *holder) {
	if h.running == 0 && len(h.queue) == 0 && h.used <= g.used {
		delete(g.holders, name)
	}
}

// crowded says whether somebody waits.
func (g *Gate) crowded() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting > 0
}

// Task is one computation. It is for one goroutine.
type Task struct {
	gate   *Gate
	ctx    context.Context
	holder string
	// since is when it got its slot; zero while it has none.
	since time.Time
}

// Begin waits until a holder's computation may begin, or the context ends.
func (g *Gate) Begin(ctx context.Context, holder string) (*Task, error) {
	t := &Task{gate: g, ctx: ctx, holder: holder}
	return t, t.resume()
}

// End gives the slot back. It may be called more than once.
func (t *Task) End() {
	if !t.since.IsZero() {
		took := time.Since(t.since)
		t.since = time.Time{}
		t.gate.leave(t.holder, took)
	}
}

func (t *Task) resume() error {
	if err := t.gate.enter(t.ctx, t.holder); err != nil {
		return err
	}
	t.since = time.Now()
	return nil
}

// outside does something that is no computation.
func (t *Task) outside(do func() (int, error)) (int, error) {
	t.End()
	n, err := do()
	if later := t.resume(); later != nil {
		return n, later
	}
	return n, err
}

// yield lets others compute where it is their turn. Go lets a computation go on for ten milliseconds where others wait for a processor;
// what is short is done first even where there is one processor alone.
func (t *Task) yield() error {
	if t.since.IsZero() { // its context has ended
		return t.resume()
	}
	if time.Since(t.since) > slice && t.gate.crowded() {
		t.End()
		return t.resume()
	}
	runtime.Gosched()
	return nil
}

// pieces of what is read and computed on: piece may be half a megabyte once it is unpacked.
const ahead, piece = 32 << 10, 512

// Reader is content that the task computes on. The task has no slot while content is waited for.
func (t *Task) Reader(from io.Reader) io.Reader {
	return reader{t, bufio.NewReaderSize(outsideReader{t, from}, ahead)}
}

type outsideReader struct {
	task *Task
	from io.Reader
}

func (r outsideReader) Read(p []byte) (int, error) {
	return r.task.outside(func() (int, error) { return r.from.Read(p) })
}

type reader struct {
	task *Task
	from *bufio.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.task.yield(); err != nil {
		return 0, err
	}
	return r.from.Read(p[:min(len(p), piece)])
}

// Writer takes what the task computes. The task has no slot while that is written.
func (t *Task) Writer(to io.Writer) io.Writer { return writer{t, to} }

type writer struct {
	task *Task
	to   io.Writer
}

func (w writer) Write(p []byte) (int, error) {
	return w.task.outside(func() (int, error) { return w.to.Write(p) })
}
