package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestASourceOfWrongPasswordsMustWait(t *testing.T) {
	h, _, _ := open(t, line(t, "ann", "secret", 4))
	now := time.Now()
	h.throttle.now = func() time.Time { return now }
	attacker, other := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("203.0.113.9")
	wrong := func() error { return h.Check(t.Context(), attacker, "ann", fmt.Sprint(now, h.computed.Load())) }
	for i := range freeFailures + 1 {
		if err := wrong(); !errors.Is(err, ErrDenied) {
			t.Fatalf("wrong password %d: %v", i, err)
		}
	}
	var throttled *ThrottledError
	for pause := firstPause; pause <= 2*longestPause; pause *= 2 {
		computed := h.computed.Load()
		for range 3 {
			if err := wrong(); !errors.As(err, &throttled) || throttled.RetryAfter != min(pause, longestPause) {
				t.Fatalf("after a pause of %s should begin: %v", pause, err)
			}
		}
		if h.computed.Load() != computed {
			t.Error("what was refused was computed")
		}
		now = now.Add(min(pause, longestPause))
		if err := wrong(); !errors.Is(err, ErrDenied) {
			t.Fatalf("after %s: %v", pause, err)
		}
	}
	// Neither others nor what is remembered have to do with it.
	if err := h.Check(t.Context(), other, "ann", "secret"); err != nil {
		t.Errorf("another source: %v", err)
	}
	if err := h.Check(t.Context(), attacker, "ann", "secret"); err != nil {
		t.Errorf("a remembered credential from there: %v", err)
	}
	now = now.Add(forgetAfter + time.Second)
	if err := wrong(); !errors.Is(err, ErrDenied) {
		t.Errorf("after a long time: %v", err)
	}
	if got := h.throttle.sources[network(attacker)].failures; got != 1 {
		t.Errorf("after a long time there are still %d failures", got)
	}
}

func TestARightPasswordEndsThePause(t *testing.T) {
	h, _, _ := open(t, line(t, "ann", "secret", 4))
	for i := range freeFailures {
		h.Check(t.Context(), home, "ann", fmt.Sprint(i)) //nolint:errcheck // wrong
	}
	if err := h.Check(t.Context(), home, "ann", "secret"); err != nil {
		t.Fatal(err)
	}
	for i := range freeFailures {
		if err := h.Check(t.Context(), home, "ann", fmt.Sprint("again", i)); !errors.Is(err, ErrDenied) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// A client with an old password, which sends it again and again, keeps nobody out: neither another user behind the same
// address, nor the same user with the new password, all of them unknown to a server that has just started. And it costs
// one computation.
func TestAStaleClientKeepsNobodyOut(t *testing.T) {
	var text strings.Builder
	for i := range 45 {
		text.WriteString(line(t, fmt.Sprint("user", i), "right", 4))
	}
	h, _, _ := open(t, text.String()+line(t, "ci", "new", 4))
	stale := func() {
		for range 5 {
			if err := h.Check(t.Context(), home, "ci", "old"); !errors.Is(err, ErrDenied) {
				t.Fatalf("the stale client: %v", err)
			}
		}
	}
	for i := range 45 {
		stale()
		if err := h.Check(t.Context(), home, fmt.Sprint("user", i), "right"); err != nil {
			t.Errorf("user %d: %v", i, err)
		}
	}
	stale()
	if err := h.Check(t.Context(), home, "ci", "new"); err != nil {
		t.Errorf("the same user with the new password: %v", err)
	}
	if n := h.computed.Load(); n != 47 {
		t.Errorf("%d computations, want one for each of 47 credentials", n)
	}
}

// A wrong password that becomes the right one is right.
func TestAWrongPasswordMayBecomeRight(t *testing.T) {
	h, path, _ := open(t, line(t, "ann", "old", 4))
	if err := h.Check(t.Context(), home, "ann", "new"); !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(line(t, "ann", "new", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.load(); err != nil {
		t.Fatal(err)
	}
	if err := h.Check(t.Context(), home, "ann", "new"); err != nil {
		t.Error(err)
	}
}

// Somebody guesses one user's password, without end: others behind the same address come in with a right one.
func TestGuessingOneUserDoesNotKeepOutOthers(t *testing.T) {
	h, _, _ := open(t, line(t, "ann", "secret", 4)+line(t, "bob", "other", 4))
	now := time.Now()
	h.throttle.now = func() time.Time { return now }
	var throttled *ThrottledError
	for i := range 600 {
		now = now.Add(100 * time.Millisecond)
		if err := h.Check(t.Context(), home, "ann", fmt.Sprint(i)); i > 50 && err == nil {
			t.Fatal("a wrong password is right")
		}
	}
	if err := h.Check(t.Context(), home, "ann", "another"); !errors.As(err, &throttled) {
		t.Errorf("not throttled: %v", err)
	}
	if err := h.Check(t.Context(), home, "bob", "other"); err != nil {
		t.Errorf("bob: %v", err)
	}
}

// Who tries passwords on many users has the source's budget, and no more, for as long as it goes on. A right password from
// the same source gets through meanwhile, also one that this process has never seen.
func TestTryingManyUsersIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := open(t, line(t, "ann", "secret", 4))
		begun := time.Now()
		guess := func(i int) {
			for time.Since(begun) < 10*time.Minute {
				h.Check(t.Context(), home, fmt.Sprint("user", i), fmt.Sprint("summer", time.Now())) //nolint:errcheck // wrong
				time.Sleep(200 * time.Millisecond)
				i += 4
			}
		}
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() { guess(i) })
		}
		time.Sleep(5 * time.Minute)
		asked := time.Now()
		if err := h.Check(t.Context(), home, "ann", "secret"); err != nil {
			t.Errorf("a right password: %v", err)
		}
		if took := time.Since(asked); took == 0 || took > (maxQueued+1)*budgetInterval {
			t.Errorf("the right password took %s", took)
		}
		group.Wait()
		took := time.Since(begun)
		if n, most := h.computed.Load(), int64(sourceBudget+took/budgetInterval)+1; n > most || n < most/2 {
			t.Errorf("%d computations in %s, want %d", n, took, most)
		}
	})
}

// As many wait for a source whose budget is spent as can wait a short time, and take their places in order. The others are
// refused at once.
func TestFewWaitForASpentSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		spend(t, th)
		begun := time.Now()
		order := make(chan time.Duration, maxQueued)
		for i := range maxQueued {
			go func() {
				done, err := th.enter(home, fmt.Sprint("waits", i))
				if err != nil {
					t.Error(err)
					return
				}
				done(true)
				order <- time.Since(begun)
			}()
		}
		synctest.Wait()
		var throttled *ThrottledError
		for range 1000 {
			if _, err := th.enter(home, "late"); !errors.As(err, &throttled) || throttled.RetryAfter <= 0 || throttled.RetryAfter > budgetInterval {
				t.Fatalf("all places are taken: %v", err)
			}
		}
		if time.Since(begun) != 0 {
			t.Error("those who were refused waited")
		}
		for i := range maxQueued {
			if took := <-order; took != time.Duration(i+1)*budgetInterval {
				t.Errorf("number %d was let in after %s", i, took)
			}
		}
		if th.queued != 0 || th.sources[network(home)].queued != 0 || th.waiting != 0 {
			t.Errorf("%d are said to wait still", th.queued)
		}
	})
}

// spend spends the budget of home.
func spend(t *testing.T, th *throttle) {
	t.Helper()
	for i := range sourceBudget {
		done, err := th.enter(home, fmt.Sprint("spends", i))
		if err != nil {
			t.Fatal(err)
		}
		done(true)
	}
}

// What is refused leaves no record of its user, so that a source that makes users up does not push out others' records.
func TestRefusedUsersLeaveNoRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		spend(t, th)
		var group sync.WaitGroup
		defer group.Wait()
		for i := range maxQueued {
			group.Go(func() {
				if _, err := th.enter(home, fmt.Sprint("waits", i)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		users := func() int {
			th.mu.Lock()
			defer th.mu.Unlock()
			return len(th.users)
		}
		before := users()
		for i := range 100 {
			if _, err := th.enter(home, fmt.Sprint("made up", i)); err == nil {
				t.Fatal("not refused")
			}
		}
		if now := users(); now != before {
			t.Errorf("%d users are remembered, there were %d", now, before)
		}
	})
}

// A full memory makes room for many records at once, and takes those first that say nothing.
func TestAFullMemoryMakesRoomForMany(t *testing.T) {
	m, now := records[int]{}, time.Now()
	for i := range maxRecords {
		m.find(i, now).failures = i % 2
	}
	m.find(maxRecords, now)
	if len(m) > maxRecords-maxRecords/10+1 {
		t.Errorf("%d records are left of %d", len(m), maxRecords)
	}
	for i := 1; i < maxRecords; i += 2 {
		if m[i] == nil {
			t.Fatalf("the failures of %d are forgotten, with others there that have none", i)
		}
	}
}

// Thousands of wrong passwords at once, from one network: few are computed, and everybody else comes in.
func TestAFloodIsBounded(t *testing.T) {
	h, _, _ := open(t, line(t, "ann", "secret", 6)+line(t, "bob", "other", 6))
	if err := h.Check(t.Context(), home, "ann", "secret"); err != nil {
		t.Fatal(err)
	}
	before := h.computed.Load()
	flood := netip.MustParseAddr("2001:db8::1")
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range 2000 {
		group.Go(func() {
			<-start
			from := flood.As16()
			from[15] = byte(i)                                                 // another address of the same customer
			h.Check(t.Context(), netip.AddrFrom16(from), "ann", fmt.Sprint(i)) //nolint:errcheck // wrong
		})
	}
	close(start)
	for range 100 {
		if err := h.Check(t.Context(), flood, "ann", "secret"); err != nil {
			t.Errorf("a remembered credential, even from there: %v", err)
		}
	}
	if err := h.Check(t.Context(), home, "bob", "other"); err != nil {
		t.Errorf("a new credential from elsewhere: %v", err)
	}
	group.Wait()
	if n := h.computed.Load() - before; n > trustedSlots+freeFailures+10 {
		t.Errorf("%d computations for the flood", n)
	}
	if h.throttle.waiting != 0 {
		t.Errorf("%d are said to wait still", h.throttle.waiting)
	}
}

func TestSourcesAreBounded(t *testing.T) {
	th := newThrottle()
	now := time.Now()
	th.now = func() time.Time { return now }
	for i := range maxRecords + 500 {
		done, err := th.enter(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "ann")
		if err != nil {
			t.Fatal(err)
		}
		done(true)
	}
	if len(th.sources) > maxRecords || len(th.users) > maxRecords {
		t.Errorf("%d sources and %d users are remembered", len(th.sources), len(th.users))
	}
}
