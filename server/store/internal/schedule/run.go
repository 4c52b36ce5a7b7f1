package schedule

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// maxSteps bounds the calls of one run: an operation that tries again for ever is a failure too.
const maxSteps = 3000

// run is one execution of a program, along one schedule.
type run struct {
	driver  *Driver
	threads []*thread
	// lates are writes of threads that died: they are threads of their own.
	crashes bool
	// crashUsed says that something died already; one death is enough for a run.
	crashUsed bool
	steps     int
	current   *thread
	// contents says by whom what lies at a key was written; store is the fingerprint of all of it.
	contents map[string]uint64
	store    uint64
	// events is the fingerprint of the order in which actions began and ended, and waited of how often time passed.
	events uint64
	waited int
	mu     sync.Mutex
	ids    map[string]string
	// visits hears of every call that happens.
	visits func(t *thread, c *call)

	chosen []choice
	trace  []traceLine
	// traced says that the trace is to be kept.
	traced  bool
	actions []*Action
}

type traceLine struct{ thread, method, key, outcome string }

// choice is one decision of the scheduler: which thread goes on, and how.
type choice struct {
	thread byte
	how    how
}

type how byte

const (
	// step lets the thread's next call happen.
	step how = iota
	// crash lets the thread's process die before it.
	crash
	// late lets the process die, and the call become a thread of its own.
	late
	// twice lets it happen, and once more as a thread of its own.
	twice
)

// option is a choice and what it costs.
type option struct {
	choice
	cost int
}

func (r *run) number(t *thread) int { return slices.Index(r.threads, t) }

func (r *run) order(what string, t *thread) {
	r.events = mix(r.events, maphash.String(seed, fmt.Sprint(what, t.name, t.actions)))
}

// start lets every operation run up to its first call.
func (r *run) start(ctx context.Context, operations []Operation) {
	for i, o := range operations {
		t := &thread{run: r, name: string(rune('A' + i)), mayCrash: r.crashes && !o.Immortal, history: uint64(i) + 1}
		r.threads = append(r.threads, t)
		go func() {
			o.Run(context.WithValue(ctx, threadKey{}, t))
			t.mu.Lock()
			defer t.mu.Unlock()
			t.ended = true
		}()
		synctest.Wait() // one by one, so that they draw the same random numbers in every run
	}
}

// options returns what can be done next, what costs nothing first. It is empty when everything has ended.
func (r *run) options() ([]option, error) {
	for patience := time.Millisecond; ; patience *= 2 {
		synctest.Wait()
		if options := r.ready(); len(options) > 0 {
			return options, nil
		}
		var running []string
		for _, t := range r.threads {
			if !t.ended {
				running = append(running, t.name)
			}
		}
		if len(running) == 0 {
			return nil, nil
		}
		if patience > time.Hour {
			return nil, fmt.Errorf("%v wait for something that is no call to the storage", running)
		}
		time.Sleep(patience) // they sleep themselves
	}
}

func (r *run) ready() []option {
	var free, costly []option
	going := r.current != nil && r.current.next() != nil
	for i, t := range r.threads {
		c := t.next()
		if c == nil {
			continue
		}
		cost := 0
		if going && t != r.current {
			cost = 1
		}
		if step := (option{choice{byte(i), step}, cost}); cost == 0 {
			free = append(free, step)
		} else {
			costly = append(costly, step)
		}
		for _, how := range r.deaths(t, c) {
			costly = append(costly, option{choice{byte(i), how}, cost + 1})
		}
	}
	return append(free, costly...)
}

// deaths are the ways in which the process that makes a call can die of it, or the call can happen twice.
func (r *run) deaths(t *thread, c *call) (ways []how) {
	if r.crashUsed || !t.mayCrash || !c.writes || c.key == timeKey {
		return nil
	}
	if t == r.current { // dying before a read is as dying before the next write, and to die later is as to die now
		ways = append(ways, crash)
	}
	if r.driver.promises.LateWrites {
		ways = append(ways, late)
		if c.method == "Delete" {
			ways = append(ways, twice)
		}
	}
	return ways
}

// take carries out a choice.
func (r *run) take(c choice) error {
	r.chosen = append(r.chosen, c)
	t := r.threads[c.thread]
	next := t.next()
	if next == nil {
		return fmt.Errorf("the schedule says %s, which has nothing to do", t.name)
	}
	if r.steps++; r.steps > maxSteps {
		return fmt.Errorf("%s makes calls for ever", t.name)
	}
	r.begin(t)
	switch c.how {
	case crash:
		r.crashUsed = true
		r.log(t, next, "its process dies before this")
		t.crash()
	case late:
		r.crashUsed = true
		r.log(t, next, "is sent, and its process dies")
		r.postpone(t, next)
		t.crash()
	case twice:
		r.crashUsed = true
		r.postpone(t, next)
		r.perform(t, next)
	default:
		r.perform(t, next)
	}
	r.current = t
	return nil
}

// begin notes that the first call of an action happens.
func (r *run) begin(t *thread) {
	if a := t.action; a != nil && a.Began < 0 {
		a.Began, a.BeganAt = r.steps, time.Now()
		r.actions = append(r.actions, a)
		r.order("begin", t)
	}
}

// postpone makes a call a thread of its own.
func (r *run) postpone(t *thread, c *call) {
	again := &call{method: c.method, key: c.key, name: c.name, also: c.also, writes: c.writes, deletes: c.deletes, does: c.does, granted: make(chan struct{})}
	r.threads = append(r.threads, &thread{run: r, name: strings.ToLower(t.name), late: true, pending: []*call{again},
		history: mix(t.history, 1), ended: true})
}

// perform lets a call happen, and gives its thread the answer.
func (r *run) perform(t *thread, c *call) {
	c.err = c.does()
	r.visits(t, c)
	outcome, key := kind(c.err), c.name
	t.note(c.method, key, outcome)
	switch {
	case c.method == "Wait":
		r.waited++
	case c.method == "List":
		for _, name := range c.found {
			t.note(r.known(t, name))
		}
	case !c.writes:
		t.history = mix(t.history, r.contents[key])
	case c.err == nil:
		if c.also != "" {
			t.history = mix(t.history, r.contents[r.known(t, c.also)])
		}
		content := t.history
		if c.deletes {
			content = 1
		}
		r.store ^= mix(maphash.String(seed, key), r.contents[key]) ^ mix(maphash.String(seed, key), content)
		r.contents[key] = content
	}
	t.history = mix(t.history, uint64(r.waited))
	if r.traced {
		if c.method == "List" {
			outcome = strings.Join(c.found, " ")
		}
		r.log(t, c, outcome)
	}
	t.take(c)
	close(c.granted)
}

func (r *run) log(t *thread, c *call, outcome string) {
	if r.traced {
		r.trace = append(r.trace, traceLine{t.name, c.method, c.name, r.known(t, outcome)})
	}
}

// known is a key whose random parts are replaced by names that say where they come from: ids of uploads, and nonces.
func (r *run) known(t *thread, key string) string {
	for begin := 0; begin < len(key); begin++ {
		end := begin
		for end < len(key) && isHex(key[end]) {
			end++
		}
		switch end - begin {
		case 10:
			if id := begin + uploadIDLength; id <= len(key) && (key[end] == 's' || key[end] == 't') {
				return key[:begin] + r.nameOf(t, "upload", key[begin:id]) + key[id:]
			}
		case nonceLength:
			return key[:begin] + r.nameOf(t, "nonce", key[begin:end]) + key[end:]
		}
		begin = end
	}
	return key
}

const uploadIDLength, nonceLength = 59, 32

func (r *run) nameOf(t *thread, what, id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids[id] == "" {
		t.ids++
		r.ids[id] = fmt.Sprintf("%s-%s%d", what, t.name, t.ids)
	}
	return r.ids[id]
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

// state is the fingerprint of everything that the rest of the run depends on.
func (r *run) state() uint64 {
	all := mix(r.store, r.events)
	for i, t := range r.threads {
		h := mix(t.history, uint64(i))
		if t.crashed {
			h = mix(h, 2)
		}
		if c := t.next(); c != nil {
			h = mix(h, maphash.String(seed, c.method+" "+c.name))
		}
		if t == r.current {
			h = mix(h, 3)
		}
		all = mix(all, h)
	}
	if r.crashUsed {
		all = mix(all, 4)
	}
	return mix(all, uint64(r.waited))
}

var errNotDeterministic = errors.New("the same schedule led to another state: the code under test, or this test, is not deterministic")
