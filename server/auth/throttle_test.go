package auth

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"packregistry.dev/server/internal/clientip"
)

// The sixth wrong password for a user waits, and so does each after it; others, and what is remembered, do not.
func TestASourceOfWrongPasswordsMustWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := open(t, line(t, "ann", "secret", 4))
		other := netip.MustParseAddr("203.0.113.9")
		wrong := func() error { return h.Check(t.Context(), home, "ann", fmt.Sprint(time.Now(), h.computed.Load())) }
		for i := range perUser.burst {
			if err := wrong(); !errors.Is(err, ErrDenied) {
				t.Fatalf("wrong password %d: %v", i, err)
			}
		}
		begun := time.Now()
		for i := range 3 {
			if err := wrong(); !errors.Is(err, ErrDenied) {
				t.Errorf("after a wait: %v", err)
			}
			if took := time.Since(begun); took != time.Duration(i+1)*perUser.interval {
				t.Errorf("wrong password %d after the limit came after %s", i, took)
			}
		}
		waits := make(chan error, maxQueuedOfUser)
		for i := range maxQueuedOfUser {
			go func() { waits <- h.Check(t.Context(), home, "ann", fmt.Sprint("waits", i)) }()
		}
		synctest.Wait()
		var throttled *ThrottledError
		computed := h.computed.Load()
		if err := h.Check(t.Context(), home, "ann", "while many wait"); !errors.As(err, &throttled) || throttled.RetryAfter < shortestRetry || throttled.RetryAfter > perUser.interval {
			t.Errorf("while many wait: %v", err)
		}
		if h.computed.Load() != computed {
			t.Error("what was refused was computed")
		}
		now := time.Now()
		if err := h.Check(t.Context(), other, "ann", "secret"); err != nil {
			t.Errorf("another source: %v", err)
		}
		if err := h.Check(t.Context(), home, "ann", "secret"); err != nil || time.Since(now) != 0 {
			t.Errorf("a remembered credential from there: %v after %s", err, time.Since(now))
		}
		for range maxQueuedOfUser {
			<-waits
		}
		time.Sleep(time.Duration(perUser.burst) * perUser.interval)
		if n := perUser.failures(&h.throttle.users[userKey{clientip.Network(home), maphash.String(h.throttle.seed, "ann")}].budget, time.Now()); n != 0 {
			t.Errorf("%d failures count after a long time", n)
		}
	})
}

func TestARightPasswordEndsThePause(t *testing.T) { synctest.Test(t, aRightPasswordEndsThePause) }

func aRightPasswordEndsThePause(t *testing.T) {
	h, _, _ := open(t, line(t, "ann", "secret", 4))
	for i := range perUser.burst {
		h.Check(t.Context(), home, "ann", fmt.Sprint(i)) //nolint:errcheck // wrong
	}
	if err := h.Check(t.Context(), home, "ann", "secret"); err != nil {
		t.Fatal(err)
	}
	for i := range perUser.burst {
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

// A stage is who guesses from an address, and who comes from there with a right password meanwhile.
type stage struct {
	name string
	// guessers send wrong passwords, each the next as soon as the last was answered; they try as many users as they are, or
	// another one each time.
	guessers int
	spray    bool
	// own makes each guesser log in with a right password of its own after each guess.
	own bool
	// fails is how often the user who is right was wrong before.
	fails int
	// victim is whether the guessers guess that user's password too.
	victim bool
	// most is how long the right password takes at most, with the times that it is refused.
	most time.Duration
}

// Who guesses is slow, for as long as it goes on, and a right password from the same address gets in meanwhile, also one that
// this process has never seen.
func TestARightPasswordGetsInWhereOthersGuess(t *testing.T) {
	const byChance = time.Hour // a draw of one in so many at each interval; nothing is promised
	for _, s := range []stage{
		{name: "one guesses another user's", guessers: 1, most: 0},
		{name: "one guesses that very user's", guessers: 1, victim: true, most: longestWait},
		{name: "ten guess that very user's", guessers: 10, victim: true, most: byChance},
		{name: "three guess other users'", guessers: 3, most: perSource.interval},
		{name: "many guess other users'", guessers: 16, most: 2 * perSource.interval},
		{name: "many guess other users', who was wrong before", guessers: 16, fails: 1, most: byChance},
		{name: "three try a password on all users", guessers: 3, spray: true, most: longestWait},
		{name: "three try a password on all users, and have an account", guessers: 3, spray: true, own: true, most: longestWait},
		{name: "thirty try a password on all users", guessers: 30, spray: true, most: byChance},
	} {
		t.Run(s.name, func(t *testing.T) { synctest.Test(t, s.run) })
	}
}

func (s stage) run(t *testing.T) {
	const goesOn = 10 * time.Minute
	th := newThrottle()
	begun := time.Now()
	guesses := map[string]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	try := func(user string, result outcome) error {
		done, err := th.enter(t.Context(), home, user)
		if err != nil {
			return err
		}
		time.Sleep(60 * time.Millisecond) // bcrypt
		done(result)
		return nil
	}
	for i := range s.guessers {
		group.Go(func() {
			for n := 0; time.Since(begun) < goesOn; n++ {
				user := fmt.Sprint("user", i)
				switch {
				case s.spray:
					user = fmt.Sprint("user", i, n)
				case s.victim:
					user = "ann"
				}
				if try(user, denied) == nil {
					mu.Lock()
					guesses[user]++
					guesses["all"]++
					mu.Unlock()
				}
				if s.own {
					try(fmt.Sprint("own", i), accepted) //nolint:errcheck // only to be forgiven
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	time.Sleep(5 * time.Minute)
	for range s.fails {
		for try("ann", denied) != nil {
			time.Sleep(time.Second)
		}
	}
	asked, again := time.Now(), 0
	for err := try("ann", accepted); err != nil; err = try("ann", accepted) {
		var throttled *ThrottledError
		if !errors.As(err, &throttled) {
			t.Fatal(err)
		}
		time.Sleep(throttled.RetryAfter)
		again++
	}
	took := time.Since(asked) - 60*time.Millisecond
	if took > s.most {
		t.Errorf("the right password took %s, want %s", took, s.most)
	}
	group.Wait()
	t.Logf("%d guesses in %s; the right password took %s, and was refused %d times", guesses["all"], goesOn, took, again)
	for user, n := range guesses {
		l := perUser
		if user == "all" {
			l = perSource
		}
		// A right password of that user forgives its failures, once.
		if most := 2*l.burst + int((goesOn+longestWait)/l.interval) + 1; n > most {
			t.Errorf("%d guesses of %s, want at most %d", n, user, most)
		}
	}
	if th.queued != 0 || th.computing != 0 || len(th.sources[clientip.Network(home)].queue) != 0 {
		t.Errorf("%d are said to wait, %d to be computed", th.queued, th.computing)
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
				if done, err := th.enter(t.Context(), home, fmt.Sprint("waits", i)); err == nil {
					done(denied)
				}
			})
		}
		synctest.Wait()
		before := len(th.users)
		for i := range 100 {
			if _, err := th.enter(t.Context(), home, fmt.Sprint("made up", i)); err == nil {
				t.Fatal("not refused")
			}
		}
		if now := len(th.users); now != before {
			t.Errorf("%d users are remembered, there were %d", now, before)
		}
	})
}

// A full memory makes room for many records at once, and takes those first that say nothing.
func TestAFullMemoryMakesRoomForMany(t *testing.T) {
	m, now := records[int]{}, time.Now()
	for i := range maxRecords {
		m.find(i, perUser, now).clean = now.Add(time.Duration(i%2) * time.Minute)
	}
	m.find(maxRecords, perUser, now)
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
func TestAFloodIsBounded(t *testing.T) { synctest.Test(t, aFloodIsBounded) }

func aFloodIsBounded(t *testing.T) {
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
	if n := h.computed.Load() - before; n > int64(perUser.burst)+10 {
		t.Errorf("%d computations for the flood", n)
	}
	if h.throttle.computing != 0 || h.throttle.queued != 0 {
		t.Errorf("%d are said to wait still, and %d to be computed", h.throttle.queued, h.throttle.computing)
	}
}

func TestSourcesAreBounded(t *testing.T) {
	th := newThrottle()
	for i := range maxRecords + 500 {
		done, err := th.enter(t.Context(), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "ann")
		if err != nil {
			t.Fatal(err)
		}
		done(denied)
	}
	if len(th.sources) > maxRecords || len(th.users) > maxRecords {
		t.Errorf("%d sources and %d users are remembered", len(th.sources), len(th.users))
	}
}
