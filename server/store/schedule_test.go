package store

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/internal/schedule"
)

// This file runs the scenarios of schedule_scenarios_test.go: a few clients and collectors at once on one store, in every
// order of their calls to the storage, up to a number of preemptions (see package schedule). Each client has a Store of its
// own, as if it spoke to a replica of its own.
//
// A failing schedule is printed with all its calls. To see it again:
//
//	PACKREGISTRY_SCHEDULE="A3 B12 A1" go test ./server/store -run 'TestEverySchedule/<scenario>/<storage>'

// scenario is a few clients at once.
type scenario struct {
	name string
	// artifacts are manifests that it speaks of.
	artifacts map[string]artifact
	// before are requests that are over when the clients begin.
	before client
	// clients run at once.
	clients []client
	// large says that there are so many schedules that S3 must wait for a soak.
	large bool
	// oneReplica says that all clients speak to one.
	oneReplica bool
	// noGrace says that collections wait for nothing.
	noGrace bool
}

// Everything that was acknowledged and is referred to is there, what was refused left nothing, and whatever nothing refers
// to goes: after every schedule.
func TestEverySchedule(t *testing.T) {
	// Each push allocates a buffer of a megabyte, and all that is alive is small.
	defer debug.SetGCPercent(debug.SetGCPercent(4000))
	o := schedule.Options{Bound: 2, Failures: 1}
	if raceDetector {
		// One goroutine runs at a time here, so that there is nothing to detect, at six times the cost; `make unit` runs
		// all schedules without it.
		o.Bound = 1
	}
	if n, err := strconv.Atoi(os.Getenv("PACKREGISTRY_SCHEDULE_FAILURES")); err == nil {
		o.Failures = n
	}
	all := scenarios()
	// As long as you like: then schedules with more deviations are tried at random, for the same time in each scenario.
	soak, _ := time.ParseDuration(os.Getenv("PACKREGISTRY_SOAK")) //nolint:errcheck // then not at all
	each := soak / time.Duration(2*len(all))
	for _, sc := range all {
		t.Run(strings.ReplaceAll(sc.name, " ", "_"), func(t *testing.T) {
			for _, promises := range []schedule.Promises{schedule.FileSystem, schedule.S3} {
				if !sc.large || soak > 0 || promises == schedule.FileSystem {
					o := o
					o.Promises = promises
					// Of three clients none dies, but in a soak: there are too many schedules, and nearly all is seen with two.
					o.Crashes = len(sc.clients) < 3 || soak > 0
					t.Run(strings.ReplaceAll(promises.Name, " ", "_"), func(t *testing.T) {
						sc.explore(t, o, each)
					})
				}
			}
		})
	}
}

func (sc scenario) explore(t *testing.T, o schedule.Options, soak time.Duration) {
	removed := false
	build := func(ctx context.Context, d *schedule.Driver) *schedule.Program {
		return sc.build(t, ctx, d, o.Promises, &removed)
	}
	if again := schedule.FromEnvironment(); again != "" {
		f := schedule.Replay(t, o, again, build)
		t.Logf("%s\n%v", f.Trace, f.Err)
		if f.Err != nil {
			t.Fail()
		}
		return
	}
	names := sc.names(sc.world())
	began := time.Now()
	result := schedule.Explore(t, o, build)
	t.Logf("%d schedules, and %d that came to a known state, in %v", result.Runs, result.Cut, time.Since(began).Round(time.Millisecond))
	if soak > 0 && len(result.Failures) == 0 {
		seed := uint64(time.Now().UnixNano()) //nolint:gosec // any will do
		o.Bound, o.Until = 6, time.Now().Add(soak)
		result = schedule.Wander(t, o, seed, build)
		t.Logf("%d random schedules, of seed %d", result.Runs, seed)
		result.Complete = true
	}
	for _, f := range result.Failures {
		var clients strings.Builder
		for i, c := range sc.clients {
			fmt.Fprintf(&clients, "    %c: %s\n", 'A'+i, c)
		}
		t.Errorf("%s\n  before: %s\n  at once:\n%s  PACKREGISTRY_SCHEDULE=%q\n%s", names.Replace(f.Err.Error()), sc.before, clients.String(), f.Schedule, f.Trace)
	}
	if sc.marks() && len(result.Failures) == 0 && !removed {
		t.Error("in no schedule anything is removed: the scenario proves nothing")
	}
	if !result.Complete && len(result.Failures) == 0 {
		t.Error("not all schedules were tried")
	}
}

// marks says that something is marked when the clients begin, so that a collection can remove it.
func (sc scenario) marks() bool {
	tagged := slices.ContainsFunc(sc.before, func(q request) bool { return q.verb == tagManifest })
	return len(sc.before) > 0 && sc.before[len(sc.before)-1] == waits && slices.Contains(sc.before, collects) && !tagged
}

func (sc scenario) world() *world {
	w := &world{artifacts: map[string]artifact{}, uploads: map[string]string{}, grace: scheduleGrace}
	if sc.noGrace {
		w.grace = 0
	}
	for name, a := range sc.artifacts {
		if a.repository == "" {
			a.repository = "r"
		}
		w.artifacts[name] = a
	}
	return w
}

const scheduleGrace = time.Hour

// build sets up a store, and returns what happens to it.
func (sc scenario) build(t *testing.T, ctx context.Context, d *schedule.Driver, p schedule.Promises, removed *bool) *schedule.Program { //nolint:revive // t is part of none
	t.Helper()
	w := sc.world()
	s, err := Create(ctx, d)
	must(t, err)
	c := &checker{w: w}
	start := model{map[string]since{}, map[string]since{}, map[string]string{}}
	for i, q := range sc.before {
		a := &schedule.Action{Subject: q, Began: i - len(sc.before), BeganAt: time.Now()}
		must(t, q.prepare(ctx, s, w))
		a.Ended, a.EndedAt = a.Began, time.Now()
		var reason string
		if start, reason = c.apply(start, a); reason != "" {
			t.Fatal(reason)
		}
		if q.verb == letTimePass {
			time.Sleep(w.pause())
		}
	}
	program := &schedule.Program{Names: sc.names(w), Uploads: slices.Collect(maps.Values(w.uploads))}
	for _, client := range sc.clients {
		replica := s
		if !sc.oneReplica {
			replica = newStore(d)
		}
		program.Operations = append(program.Operations, schedule.Operation{Run: func(ctx context.Context) { client.run(ctx, replica, w) }})
	}
	program.Check = func(h schedule.History) error {
		c.actions, c.died, c.now = h.Actions, h.Died, since{1 << 30, time.Now()}
		err := c.check(ctx, newStore(d), d, p, start)
		*removed = *removed || c.removed
		return err
	}
	return program
}

// names replaces digests by what they are of.
func (sc scenario) names(w *world) *strings.Replacer {
	var pairs []string
	add := func(d digest.Digest, name string) {
		pairs = append(pairs, "sha256/"+d.Encoded()[:2]+"/"+d.Encoded(), "<"+name+">", "sha256-"+d.Encoded(), "<"+name+">",
			d.Encoded(), "<"+name+">")
	}
	for name, a := range w.artifacts {
		add(w.digest(name), name)
		for _, layer := range a.layers {
			add(digest.FromString(layer), layer)
		}
	}
	return strings.NewReplacer(pairs...)
}

// check looks at everything, once no operation is under way.
func (c *checker) check(ctx context.Context, s *Store, d *schedule.Driver, p schedule.Promises, start model) error {
	// Beside collections a process that is slow can leave a catalog that the next one mends.
	unlisted := c.died
	deleted := map[string]bool{}
	for _, a := range c.actions {
		q := a.Subject.(request)
		if !expected(a.Err) {
			return fmt.Errorf("%q was answered %w", q, a.Err)
		}
		if q.verb == deleteBlob || q.verb == deleteManifest {
			deleted[q.repository+"/"+q.what] = true
		}
		unlisted = unlisted || q.verb == collectGarbage
	}
	o, err := c.observe(ctx, s, deleted)
	if err != nil {
		return err
	}
	c.removed = len(o.manifests) < len(start.manifests) || len(o.blobs) < len(start.blobs)
	if !c.explain(start, c.actions, func(m model) string { return c.differs(o, m, unlisted) }) {
		return fmt.Errorf("no order of the requests explains it: %s", c.reason)
	}
	if err := clean(ctx, s, c.w); err != nil {
		return err
	}
	later, err := c.observe(ctx, s, deleted)
	if err != nil {
		return fmt.Errorf("after collections: %w", err)
	}
	if err := c.same(o, later); err != nil {
		return fmt.Errorf("after collections: %w", err)
	}
	if err := c.leftovers(ctx, s, d, p, later); err != nil {
		return err
	}
	return heals(ctx, s, c.w)
}

// same checks that collections left what is alive, and nothing else.
func (c *checker) same(before, after observed) error {
	alive := c.alive(before)
	for key := range c.alive(after) {
		delete(alive, key)
	}
	for key := range alive {
		return fmt.Errorf("%s is gone", key)
	}
	for tag, name := range before.tags {
		if after.tags[tag] != name {
			return fmt.Errorf("tag %s names %q instead of %q", tag, after.tags[tag], name)
		}
	}
	return nil
}
