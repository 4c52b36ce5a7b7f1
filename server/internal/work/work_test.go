package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// compute is a task of so long, in steps.
func compute(g *Gate, holder string, steps int, step time.Duration) error {
	task, err := g.Begin(context.Background(), holder)
	if err != nil {
		return err
	}
	defer task.End()
	for range steps {
		time.Sleep(step) // which in a bubble is time that passes, and nothing else
		if err := task.yield(); err != nil {
			return err
		}
	}
	return nil
}

// However many tasks one holder has, another's begins after a slice, and gets as much of the processors as all of them together.
func TestHoldersGetTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := withSlots(1)
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { compute(g, "many", 100, time.Millisecond) }) //nolint:errcheck // it has no end
		}
		time.Sleep(500 * time.Millisecond)
		began := time.Now()
		if err := compute(g, "one", 100, time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 230*time.Millisecond {
			t.Errorf("100 ms of work took %s beside one other who computes", took)
		}
		group.Wait()
		if g.free != 1 || g.waiting != 0 || len(g.holders) != 0 {
			t.Errorf("in the end: %d free, %d wait, %d are known", g.free, g.waiting, len(g.holders))
		}
	})
}

// Who has waited for nothing has saved up nothing: it does not keep out those who came before.
func TestNobodySavesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := withSlots(1)
		var group sync.WaitGroup
		for i := range 2 {
			group.Go(func() { compute(g, fmt.Sprint("early", i), 10_000, time.Millisecond) }) //nolint:errcheck // it has no end
		}
		time.Sleep(10 * time.Second)
		began := time.Now()
		group.Go(func() { compute(g, "late", 10_000, time.Millisecond) }) //nolint:errcheck // see above
		time.Sleep(3 * time.Second)
		g.mu.Lock()
		defer g.mu.Unlock()
		if late := g.holders["late"].used - g.holders["early0"].used; late > 20*time.Millisecond || late < -20*time.Millisecond {
			t.Errorf("%s after it came the late one is off by %s", time.Since(began), late)
		}
		g.mu.Unlock()
		group.Wait()
		g.mu.Lock()
	})
}

// A task has a slot while it computes, and none while it waits for content, or for a client.
func TestNoSlotWhileContentMoves(t *testing.T) {
	g := withSlots(1)
	task, err := g.Begin(t.Context(), "slow")
	if err != nil {
		t.Fatal(err)
	}
	other := func() {
		done := make(chan error, 1)
		go func() { done <- compute(g, "other", 1, 0) }()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	from := task.Reader(readFunc(func(p []byte) (int, error) {
		other()
		return copy(p, "content"), io.EOF
	}))
	if text, err := io.ReadAll(from); string(text) != "content" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
	written := &strings.Builder{}
	to := task.Writer(writeFunc(func(p []byte) (int, error) {
		other()
		return written.Write(p)
	}))
	if _, err := io.WriteString(to, "answer"); err != nil || written.String() != "answer" {
		t.Errorf("wrote %q, %v", written, err)
	}
	if g.free != 0 {
		t.Error("it computes without a slot")
	}
	task.End()
	task.End()
	if g.free != 1 {
		t.Errorf("%d slots are free in the end", g.free)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

// Who gives up waiting keeps nobody waiting, at the beginning and in the middle.
func TestWaitingEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := withSlots(1)
		ctx, cancel := context.WithCancel(t.Context())
		task, err := g.Begin(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		begun := make(chan error, 1)
		waiting, giveUp := context.WithCancel(t.Context())
		go func() {
			_, err := g.Begin(waiting, "b")
			begun <- err
		}()
		synctest.Wait()
		giveUp()
		if err := <-begun; !errors.Is(err, context.Canceled) {
			t.Errorf("waiting ended with %v", err)
		}
		_, err = io.Copy(io.Discard, task.Reader(readFunc(func(p []byte) (int, error) {
			cancel()
			return len(p), nil
		})))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("reading ended with %v", err)
		}
		task.End()
		if g.free != 1 || g.waiting != 0 || len(g.holders) != 0 {
			t.Errorf("in the end: %d free, %d wait, %d are known", g.free, g.waiting, len(g.holders))
		}
	})
}

// No more compute at once than there are slots, and all of them come to an end, whoever gives up meanwhile.
func TestManyAtOnce(t *testing.T) {
	const slots = 3
	g := withSlots(slots)
	var computing, most atomic.Int64
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%5 == 0 {
				go cancel()
			}
			task, err := g.Begin(ctx, fmt.Sprint(i%7))
			if err != nil {
				return
			}
			defer task.End()
			from := task.Reader(strings.NewReader(strings.Repeat("x", 100<<10)))
			for p := make([]byte, 4096); err == nil; _, err = from.Read(p) {
				n := computing.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() { //nolint:revive // the condition does it
				}
				computing.Add(-1)
			}
		})
	}
	group.Wait()
	if most.Load() > slots || g.free != slots || g.waiting != 0 || len(g.holders) != 0 {
		t.Errorf("%d at once of %d; in the end %d free, %d wait, %d are known", most.Load(), slots, g.free, g.waiting, len(g.holders))
	}
}
