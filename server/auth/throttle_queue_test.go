package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"packregistry.dev/internal/htpasswd"
)

// While few wait for a source whose budget is spent, they are let in in order.
func TestFewWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		spend(t, th)
		begun := time.Now()
		inOrder := perSource.inOrder()
		order := make(chan int, inOrder)
		for i := range inOrder {
			go func() {
				done, err := th.enter(t.Context(), home, fmt.Sprint("waits", i))
				if err != nil {
					t.Error(err)
					return
				}
				done(denied)
				order <- i
			}()
			synctest.Wait()
		}
		for i := range inOrder {
			if got := <-order; got != i || time.Since(begun) != time.Duration(i+1)*perSource.interval {
				t.Errorf("number %d was let in after %s, want number %d", got, time.Since(begun), i)
			}
		}
	})
}

// A right burst from one address, as after a restart, is as quick as the computations are.
func TestManyRightPasswordsAtOnceDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		begun := time.Now()
		var group sync.WaitGroup
		for i := range maxQueued {
			group.Go(func() {
				done, err := th.enter(t.Context(), home, fmt.Sprint("user", i))
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(100 * time.Millisecond)
				done(accepted)
			})
		}
		group.Wait()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// waits is how many wait.
func (t *throttle) waits() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.queued
}

// Who hangs up gives the place in the queue back, unless others wait for the same answer.
func TestWhoHangsUpHoldsNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := open(t, line(t, "ann", "secret", 4))
		spend(t, h.throttle)
		ctx, hangUp := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for i := range maxQueued {
			group.Go(func() {
				if err := h.Check(ctx, home, fmt.Sprint("user", i), "wrong"); !errors.Is(err, context.Canceled) {
					t.Errorf("user %d: %v", i, err)
				}
			})
		}
		shares := make(chan error, 1)
		go func() { shares <- h.Check(t.Context(), home, "user0", "wrong") }()
		synctest.Wait()
		if n := h.throttle.waits(); n != maxQueued {
			t.Fatalf("%d wait", n)
		}
		hangUp()
		group.Wait()
		synctest.Wait()
		if n := h.throttle.waits(); n != 1 {
			t.Errorf("%d still wait", n)
		}
		if err := <-shares; !errors.Is(err, ErrDenied) {
			t.Errorf("who still waits: %v", err)
		}
		synctest.Wait()
		h.checks.mu.Lock()
		defer h.checks.mu.Unlock()
		if len(h.checks.calls) != 0 {
			t.Errorf("%d computations are remembered", len(h.checks.calls))
		}
	})
}

// Right passwords wait some seconds behind others' computations, whatever the file's costs are.
func TestComputationsAreBoundedByTheirCost(t *testing.T) {
	for cost := htpasswd.MinCost; cost <= htpasswd.MaxCost; cost++ {
		// A computation of cost 11 takes some 130 ms.
		if wait := time.Duration(maxComputing(cost)) * 130 * time.Millisecond << cost >> 11 / 2; wait > 9*time.Second || maxComputing(cost) < 16 {
			t.Errorf("cost %d: %d computations may wait, for %s", cost, maxComputing(cost), wait)
		}
	}
	// One source alone does not take all of it.
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		th.setCost(htpasswd.MaxCost)
		for i := range 20 {
			go th.enter(t.Context(), home, fmt.Sprint("user", i)) //nolint:errcheck // refused in the end
		}
		synctest.Wait()
		if _, err := th.enter(t.Context(), netip.MustParseAddr("198.51.100.7"), "ann"); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
		time.Sleep(longestWait)
	})
}

// spend spends the budget of home.
func spend(t *testing.T, th *throttle) {
	t.Helper()
	for i := range perSource.burst {
		done, err := th.enter(t.Context(), home, fmt.Sprint("spends", i))
		if err != nil {
			t.Fatal(err)
		}
		done(denied)
	}
}
