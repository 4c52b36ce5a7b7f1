// Package auth checks who is asking: basic authentication (RFC 7617) against a file of bcrypt hashes.
//
// bcrypt is slow on purpose, some 50 ms at the usual cost, and basic authentication sends the password with every
// request. So a pair of user and password that was right once is remembered, as a keyed hash, until the user's line changes;
// requests that bring the same pair at once share one computation; computations take half of the
// processors, with all else that takes long; and after some wrong passwords few others of their source are looked at (throttle.go).
// A pair that was wrong is remembered too: a client that sends an old password again and again costs nothing, and does
// not count as one that guesses. So wrong passwords cost whoever sends them, not the server. A pair that is remembered as
// right is never delayed; one that is not yet, from where somebody guesses, may have to wait for some seconds. Every user has
// one right password: other spellings, which bcrypt takes for the same, are wrong (htpasswd.CheckPassword).
//
// access.go says what a user may do once it is known who it is.
//
// The file is read again when it changes. One that is broken or gone leaves the last good users in place and shows in
// Status.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"packregistry.dev/internal/htpasswd"
	"packregistry.dev/server/internal/clientip"
	"packregistry.dev/server/internal/watch"
	"packregistry.dev/server/internal/work"
)

// ErrDenied is returned for every credential that is wrong, whatever is wrong with it.
var ErrDenied = errors.New("unknown user or wrong password")

// maxRemembered bounds the memory of right credentials, and that of wrong ones; more than that are checked again.
const maxRemembered = 10_000

// HTPasswd is a file of users.
type HTPasswd struct {
	path   string
	files  *watch.Files
	log    *slog.Logger
	state  atomic.Pointer[state]
	status atomic.Pointer[error]

	checks   shared
	throttle *throttle
	// Work is where computations wait for a processor. It may be set before the first check.
	Work *work.Gate
	// Observe is called, if it is set, with how each reading of a changed file went.
	Observe func(error)
	// computed counts bcrypt computations.
	computed atomic.Int64
}

// state is a table with what is remembered of it, by the keyed hashes of pairs: the users of those that were right, and
// those that were wrong.
type state struct {
	table *table
	key   [32]byte

	mu         sync.RWMutex
	remembered map[[32]byte]string
	wrong      map[[32]byte]struct{}
}

// takeOver remembers what an earlier state did of users whose lines are the same. Who did not change need not be checked
// again. What was wrong may be right now.
func (s *state) takeOver(last *state) {
	last.mu.RLock()
	defer last.mu.RUnlock()
	s.key = last.key
	for id, user := range last.remembered {
		if e, ok := s.table.hashes[user]; ok && e == last.table.hashes[user] {
			s.remembered[id] = user
		}
	}
}

// OpenHTPasswd reads the file. A file that is missing or broken is an error: nobody is made up in its place.
func OpenHTPasswd(path string, log *slog.Logger) (*HTPasswd, error) {
	h := &HTPasswd{path: path, files: watch.New(path), log: log, Work: work.New(), throttle: newThrottle()}
	if err := h.load(); err != nil {
		return nil, fmt.Errorf("auth.htpasswd.path: %w", err)
	}
	return h, nil
}

func (h *HTPasswd) load() error {
	text, err := os.ReadFile(h.path)
	if err != nil {
		return err
	}
	file, err := htpasswd.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", h.path, err)
	}
	t := newTable(file)
	for _, u := range t.unusable {
		h.log.Warn("this line of the users' file can never match", "file", h.path, "line", u.Line, "reason", u.Reason)
	}
	if len(t.hashes) == 0 {
		h.log.Warn("the users' file holds no usable line: nobody can log in", "file", h.path)
	}
	h.throttle.setCost(t.highest)
	next := &state{table: t, remembered: map[[32]byte]string{}, wrong: map[[32]byte]struct{}{}}
	if last := h.state.Load(); last != nil {
		next.takeOver(last)
		h.state.Store(next)
		return nil
	}
	rand.Read(next.key[:]) //nolint:errcheck // never fails
	h.state.Store(next)
	return nil
}

// Watch reads the file again whenever it changes, until the context ends.
func (h *HTPasswd) Watch(ctx context.Context, interval time.Duration) {
	h.files.Run(ctx, interval, func() {
		err := h.load()
		h.status.Store(&err)
		if h.Observe != nil {
			h.Observe(err)
		}
		if err != nil {
			h.log.Error("cannot read the users' file; the users that were read last stay", "error", err)
			return
		}
		h.log.Info("read the users' file again", "users", len(h.state.Load().table.hashes))
	})
}

// Status returns why the file as it is now could not be read, or nil.
func (h *HTPasswd) Status() error {
	if err := h.status.Load(); err != nil {
		return *err
	}
	return nil
}

// Unusable returns the lines of the file in use that can never match.
func (h *HTPasswd) Unusable() []htpasswd.Unusable { return h.state.Load().table.unusable }

// Check returns nil for a user of the file with the right password, ErrDenied for anybody else, a *ThrottledError where
// the source must wait first, and the context's error where it ended before that was known.
func (h *HTPasswd) Check(ctx context.Context, from netip.Addr, user, password string) error {
	s := h.state.Load()
	id := s.identify(user, password)
	s.mu.RLock()
	_, right := s.remembered[id]
	_, wrong := s.wrong[id]
	s.mu.RUnlock()
	switch {
	case right:
		return nil
	case wrong:
		return denial(password)
	}
	return h.checks.do(ctx, string(id[:])+clientip.Network(from).String(), func(ctx context.Context) error {
		return h.compute(ctx, s, id, from, user, password)
	})
}

func (h *HTPasswd) compute(ctx context.Context, s *state, id [32]byte, from netip.Addr, user, password string) error {
	done, err := h.throttle.enter(ctx, from, user)
	if err != nil {
		return err
	}
	task, err := h.Work.Begin(ctx, "login "+clientip.Network(from).String()) // nobody is known yet to be that user
	if err != nil {
		done(unknown)
		return err
	}
	h.computed.Add(1)
	right := func() (right bool) {
		outcome := unknown // if it panics, neither the processor nor the place in the queue stays taken
		defer func() { task.End(); done(outcome) }()
		if right = s.table.matches(user, []byte(password)); right {
			outcome = accepted
		} else {
			outcome = denied
		}
		return right
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !right {
		remember(s.wrong, id, struct{}{})
		return denial(password)
	}
	remember(s.remembered, id, user)
	return nil
}

// denial is ErrDenied, with the reason where the password could be nobody's, which says nothing of users.
func denial(password string) error {
	if reason := htpasswd.CheckPassword([]byte(password)); reason != nil {
		return fmt.Errorf("%w: %w", ErrDenied, reason)
	}
	return ErrDenied
}

// identify is the keyed hash of a pair. The key dies with the table, and so does all that the hash could reveal.
func (s *state) identify(user, password string) (id [32]byte) {
	mac := hmac.New(sha256.New, s.key[:])
	fmt.Fprintf(mac, "%d:%s%s", len(user), user, password)
	mac.Sum(id[:0])
	return id
}

// remember adds to a bounded memory.
func remember[V any](memory map[[32]byte]V, id [32]byte, value V) {
	if len(memory) >= maxRemembered {
		for old := range memory { // any one: it costs its owner one computation
			delete(memory, old)
			break
		}
	}
	memory[id] = value
}
