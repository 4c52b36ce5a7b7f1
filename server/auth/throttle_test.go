package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
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
	for i := range maxSources + 500 {
		done, err := th.enter(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		if err != nil {
			t.Fatal(err)
		}
		done(true)
	}
	if len(th.sources) > maxSources {
		t.Errorf("%d sources are remembered", len(th.sources))
	}
}
