package share

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// One holder takes half, and each after it half of the rest: there is always something for who comes then.
func TestNobodyTakesAll(t *testing.T) {
	p := New(16, 1)
	for i, want := range []int{8, 4, 2, 1, 1, 0} {
		got := 0
		for p.TryAcquire(fmt.Sprint(i), 1) {
			got++
		}
		if got != want {
			t.Errorf("holder %d got %d, want %d", i, got, want)
		}
	}
	for i, n := range []int64{8, 4, 2, 1, 1} {
		p.Release(fmt.Sprint(i), n)
	}
	if p.Taken() != 0 || len(p.holders) != 0 {
		t.Errorf("%d are taken of nobody, by %d", p.Taken(), len(p.holders))
	}
}

// What one request needs a holder may have, if nobody else has it.
func TestTheLeastIsHadInAnyCase(t *testing.T) {
	p := New(10, 10)
	if !p.TryAcquire("a", 4) || !p.TryAcquire("a", 6) || p.TryAcquire("b", 1) {
		t.Error("one holder must have all, and another nothing")
	}
}

// Who holds least is served first, though others wait longer.
func TestWhoHoldsLeastIsServedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(2, 1)
		if !p.TryAcquire("flood", 1) || !p.TryAcquire("other", 1) {
			t.Fatal("two places")
		}
		order := make(chan string, 9)
		wait := func(name string) {
			go func() {
				if err := p.Acquire(t.Context(), name, 1); err != nil {
					t.Error(err)
					return
				}
				order <- name
				time.Sleep(time.Second)
				p.Release(name, 1)
			}()
			synctest.Wait()
		}
		for range 6 {
			wait("flood")
		}
		wait("a")
		wait("b")
		p.Release("other", 1)
		if got := []string{<-order, <-order}; got[0] != "a" || got[1] != "b" {
			t.Errorf("first came %v", got)
		}
		p.Release("flood", 1)
		for range 6 {
			<-order
		}
		time.Sleep(2 * time.Second)
	})
}

func TestWaitingIsBoundedAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(1, 1)
		p.TryAcquire("a", 1)
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for range maxWaiting {
			group.Go(func() {
				if err := p.Acquire(ctx, "a", 1); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := p.Acquire(ctx, "a", 1); !errors.Is(err, ErrCrowded) {
			t.Errorf("one more: %v", err)
		}
		stop()
		group.Wait()
		p.Release("a", 1)
		if len(p.waiters) != 0 || len(p.holders) != 0 {
			t.Errorf("%d wait, %d are known", len(p.waiters), len(p.holders))
		}
	})
}

// Whatever happens, no more is taken than there is, and all of it comes back.
func TestNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(20, 5)
		var group sync.WaitGroup
		for i := range 200 {
			group.Go(func() {
				name, n := fmt.Sprint(i%7), 1+rand.Int64N(5)
				ctx, stop := context.WithTimeout(t.Context(), time.Duration(rand.IntN(50))*time.Second)
				defer stop()
				if p.Acquire(ctx, name, n) != nil {
					return
				}
				if taken := p.Taken(); taken > 20 || taken < n {
					t.Errorf("%d are taken", taken)
				}
				time.Sleep(time.Duration(rand.IntN(3)) * time.Second)
				p.Release(name, n)
			})
		}
		group.Wait()
		if p.Taken() != 0 || len(p.waiters) != 0 || len(p.holders) != 0 {
			t.Errorf("%d taken, %d wait, %d holders", p.Taken(), len(p.waiters), len(p.holders))
		}
	})
}
