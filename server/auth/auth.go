// Package auth checks who is asking: basic authentication (RFC 7617) against a file of bcrypt hashes.
//
// bcrypt is slow on purpose, some 50 ms at the usual cost, and basic authentication sends the password with every
// request. So a pair of user and password that was right once is remembered, as a keyed hash, until the user's line changes;
// requests that bring the same pair at once share one computation; only as many computations run as there are
// processors; and a source of wrong passwords must wait, ever longer, before another is looked at. So wrong passwords
// cost whoever sends them and not the server, and a pair that is remembered is never delayed.
//
// access.go says what a user may do once it is known who it is.
//
// The file is read again when it changes. One that is broken or gone leaves the last good users in place and shows in
// Status.
package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"packregistry.dev/server/internal/watch"
)

// ErrDenied is returned for every credential that is wrong, whatever is wrong with it.
var ErrDenied = errors.New("unknown user or wrong password")

// maxRemembered bounds the memory of right credentials; more users than that at once are checked again.
const maxRemembered = 10_000

// HTPasswd is a file of users.
type HTPasswd struct {
	path   string
	files  *watch.Files
	log    *slog.Logger
	state  atomic.Pointer[state]
	status atomic.Pointer[error]

	checks   singleflight.Group
	slots    chan struct{}
	throttle *throttle
	// Observe is told, if it is set, how each reading of a changed file went.
	Observe func(error)
	// computed counts bcrypt computations.
	computed atomic.Int64
}

// state is a table with what is remembered of it: the users of pairs that were right, by the pairs' keyed hashes.
type state struct {
	table *table
	key   [32]byte

	mu         sync.RWMutex
	remembered map[[32]byte]string
}

// takeOver remembers what an earlier state did of users whose lines are the same. Who did not change need not be checked
// again, and wait for others of the same source who are wrong.
func (s *state) takeOver(last *state) {
	last.mu.RLock()
	defer last.mu.RUnlock()
	s.key = last.key
	for id, user := range last.remembered {
		if hash, ok := s.table.hashes[user]; ok && bytes.Equal(hash, last.table.hashes[user]) {
			s.remembered[id] = user
		}
	}
}

// OpenHTPasswd reads the file. A file that is missing or broken is an error: nobody is made up in its place.
func OpenHTPasswd(path string, log *slog.Logger) (*HTPasswd, error) {
	h := &HTPasswd{path: path, files: watch.New(path), log: log, slots: make(chan struct{}, runtime.GOMAXPROCS(0)), throttle: newThrottle()}
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
	t, bad, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", h.path, err)
	}
	for _, r := range bad {
		h.log.Warn("this line of the users' file cannot match", "file", h.path, "line", r.Line, "user", r.User, "reason", r.Reason)
	}
	if len(t.hashes) == 0 {
		h.log.Warn("the users' file holds no usable line: nobody can log in", "file", h.path)
	}
	next := &state{table: t, remembered: map[[32]byte]string{}}
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

// Check returns nil for a user of the file with the right password, ErrDenied for anybody else, a *ThrottledError where
// the source must wait first, and the context's error where it ended before that was known.
func (h *HTPasswd) Check(ctx context.Context, from netip.Addr, user, password string) error {
	s := h.state.Load()
	id := s.identify(user, password)
	s.mu.RLock()
	_, known := s.remembered[id]
	s.mu.RUnlock()
	if known {
		return nil
	}
	// The computation outlives a request that gives up: others of the same source may share it.
	result := h.checks.DoChan(string(id[:])+network(from).String(), func() (any, error) { return nil, h.compute(s, id, from, user, password) })
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r := <-result:
		return r.Err
	}
}

func (h *HTPasswd) compute(s *state, id [32]byte, from netip.Addr, user, password string) error {
	done, err := h.throttle.enter(from)
	if err != nil {
		return err
	}
	h.slots <- struct{}{}
	defer func() { <-h.slots }()
	h.computed.Add(1)
	right := s.table.matches(user, []byte(password))
	done(!right)
	if !right {
		return ErrDenied
	}
	s.remember(id, user)
	return nil
}

// identify is the keyed hash of a pair. The key dies with the table, and so does all that the hash could reveal.
func (s *state) identify(user, password string) (id [32]byte) {
	mac := hmac.New(sha256.New, s.key[:])
	fmt.Fprintf(mac, "%d:%s%s", len(user), user, password)
	mac.Sum(id[:0])
	return id
}

func (s *state) remember(id [32]byte, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.remembered) >= maxRemembered {
		for old := range s.remembered { // any one: it costs its owner one computation
			delete(s.remembered, old)
			break
		}
	}
	s.remembered[id] = user
}
