package share

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// takers lets one holder after another take as much as each may, one at a time, and returns how much each got until nothing was left.
func takers(p *Pool, n int64) (got []int64) {
	for {
		name, had := fmt.Sprint(len(got)), int64(0)
		for p.TryAcquire(name, n) {
			had += n
		}
		if had == 0 {
			return got
		}
		got = append(got, had)
	}
}

// One holder takes three eighths, and each after it half of the rest. A quarter is there for who holds nothing, one place for each: it
// takes so many holders to take all, as docs/configuration.md says.
func TestNobodyTakesAll(t *testing.T) {
	for _, tt := range []struct {
		size    int64
		first   []int64
		holders int
	}{
		{16, []int64{6, 3, 2, 1, 1, 1, 1, 1}, 8},
		{8, []int64{3, 2, 1, 1, 1}, 5},
		{256, []int64{96, 48, 24, 12, 6, 3}, 72},
		{2, []int64{1, 1}, 2},
		{1, []int64{1}, 1},
	} {
		p := New(tt.size, 1)
		got := takers(p, 1)
		if len(got) != tt.holders || !slices.Equal(got[:len(tt.first)], tt.first) {
			t.Errorf("of %d: %d holders got %v, want %d and %v", tt.size, len(got), got, tt.holders, tt.first)
		}
		for i, n := range got {
			p.Release(fmt.Sprint(i), n)
		}
		if p.Taken() != 0 || len(p.holders) != 0 {
			t.Errorf("%d are taken of nobody, by %d", p.Taken(), len(p.holders))
		}
	}
}

// However many ask for much, who asks for little finds something.
func TestWhoNeedsLittleFindsSome(t *testing.T) {
	p := New(32<<20, 4<<20)
	large := takers(p, 3_900_000)
	if len(large) < 3 || p.Taken() > 24<<20 {
		t.Errorf("large ones took %v", large)
	}
	for i := range 30 {
		if !p.TryAcquire(fmt.Sprint("small ", i), 256<<10) {
			t.Errorf("after %d holders of little, and %v, nothing is left", i, large)
		}
	}
	if p.TryAcquire("small 0", 256<<10) {
		t.Error("one of them got more of what is kept for those who hold nothing")
	}
}

// What is the largest request must not wait for ever.
func TestTheLargestFitsIntoWhatIsIdle(t *testing.T) {
	for _, size := range []int64{16, 20, 32, 64} {
		p := New(size, 16)
		for held := int64(1); held <= 16; held++ {
			if !p.TryAcquire("a", 1) {
				t.Errorf("of %d one holder got %d only", size, held-1)
			}
		}
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
