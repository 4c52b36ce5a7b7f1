package schedule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"packregistry.dev/server/store/driver"
)

// increment adds one to a counter, without a look at whether somebody else did meanwhile where careless is set.
func increment(ctx context.Context, d *Driver, careless bool) error {
	for {
		data, version, err := d.Read(ctx, "counter")
		if err != nil && !errors.Is(err, driver.ErrNotExist) {
			return err
		}
		if careless && version != "" {
			if err := d.Delete(ctx, "counter"); err != nil {
				return err
			}
			version = ""
		}
		err = d.Replace(ctx, "counter", append(slices.Clone(data), '|'), version)
		if !errors.Is(err, driver.ErrChanged) && !errors.Is(err, driver.ErrNotExist) {
			return err
		}
	}
}

func counters(n int, careless bool) func(ctx context.Context, d *Driver) *Program {
	return func(ctx context.Context, d *Driver) *Program {
		if err := d.Create(ctx, "counter", []byte("|"), driver.Durable); err != nil {
			panic(err)
		}
		p := &Program{}
		for range n {
			p.Operations = append(p.Operations, Operation{Run: func(ctx context.Context) {
				Do(ctx, "increment", func() error { return increment(ctx, d, careless) }) //nolint:errcheck // the check sees it
			}})
		}
		p.Check = func(h History) error {
			want := 1
			for _, a := range h.Actions {
				if a.Ended >= 0 && a.Err == nil {
					want++
				}
			}
			data, _, err := d.Read(ctx, "counter")
			if err != nil && !errors.Is(err, driver.ErrNotExist) {
				return err
			}
			if len(data) < want {
				return fmt.Errorf("%d of %d are counted", len(data), want)
			}
			return nil
		}
		return p
	}
}

// A counter that loses increments is found out, with a schedule that shows it again; one that does not passes.
func TestExploreFindsALostUpdate(t *testing.T) {
	if r := Explore(t, Options{Promises: FileSystem, Bound: 2, Crashes: true}, counters(3, false)); len(r.Failures) > 0 || !r.Complete {
		t.Errorf("the right counter: %+v", r)
	}
	o := Options{Promises: FileSystem, Bound: 2}
	r := Explore(t, o, counters(2, true))
	if len(r.Failures) != 1 {
		t.Fatalf("%+v", r)
	}
	f := r.Failures[0]
	if again := Replay(t, o, f.Schedule, counters(2, true)); again.Err == nil || again.Err.Error() != f.Err.Error() || again.Trace != f.Trace {
		t.Errorf("%+v, and when it is repeated %+v", f, again)
	}
	if !strings.Contains(f.Trace, "A  Read            counter") {
		t.Errorf("the trace does not show who did what:\n%s", f.Trace)
	}
}

// A deletion that comes twice removes what was written since. It is found where storage does that, and only there.
func TestExploreFindsRepeatedDeletions(t *testing.T) {
	for _, promises := range []Promises{FileSystem, S3} {
		r := Explore(t, Options{Promises: promises, Bound: 2, Crashes: true}, func(_ context.Context, d *Driver) *Program {
			return &Program{
				Operations: []Operation{{Run: func(ctx context.Context) {
					Do(ctx, "write anew", func() error { //nolint:errcheck // the check sees it
						return errors.Join(d.Delete(ctx, "x"), d.Create(ctx, "x", nil, driver.Durable))
					})
				}}},
				Check: func(h History) error {
					_, err := d.Stat(t.Context(), "x")
					if a := h.Actions[0]; a.Ended >= 0 && a.Err == nil {
						return err
					}
					return nil
				},
			}
		})
		if found := len(r.Failures) > 0; found != promises.LateWrites {
			t.Errorf("%s: %+v", promises.Name, r)
		}
	}
}

// What is left out for being like something else leads to nothing that the rest does not lead to: with random programs
// the same ends are reached, at every bound.
func TestNothingIsLeftOut(t *testing.T) {
	for number := range 60 {
		random := rand.New(rand.NewPCG(uint64(number), 1)) //nolint:gosec // repeatable
		var programs [][]func(ctx context.Context, d *Driver) string
		for range 2 + random.IntN(2) {
			var calls []func(ctx context.Context, d *Driver) string
			for range 2 + random.IntN(3) {
				calls = append(calls, randomCall(random, len(programs)))
			}
			programs = append(programs, calls)
		}
		for bound := range 3 {
			all, some := ends(t, programs, bound, true), ends(t, programs, bound, false)
			if !maps.Equal(all, some) {
				t.Fatalf("program %d, bound %d: %d ends instead of %d", number, bound, len(some), len(all))
			}
		}
	}
}

func randomCall(random *rand.Rand, thread int) func(ctx context.Context, d *Driver) string {
	key := []string{"a/x", "b/x", "b/y", fmt.Sprintf("own/%d", thread)}[random.IntN(4)]
	content := []byte{byte('a' + random.IntN(3))}
	switch random.IntN(5) {
	case 0:
		return func(ctx context.Context, d *Driver) string {
			data, _, err := d.Read(ctx, key)
			return kind(err) + string(data)
		}
	case 1:
		return func(ctx context.Context, d *Driver) string { return kind(d.Create(ctx, key, content, driver.Durable)) }
	case 2:
		return func(ctx context.Context, d *Driver) string {
			_, version, _ := d.Read(ctx, key) //nolint:errcheck // no version then
			return kind(d.Replace(ctx, key, content, version))
		}
	case 3:
		return func(ctx context.Context, d *Driver) string { return kind(d.Delete(ctx, key)) }
	default:
		return func(ctx context.Context, d *Driver) string {
			names, err := d.List(ctx, key[:strings.Index(key, "/")+1], "", 10)
			return fmt.Sprint(names, err)
		}
	}
}

// ends are all states, with what each thread was answered, in which runs of a program end.
func ends(t *testing.T, programs [][]func(ctx context.Context, d *Driver) string, bound int, everything bool) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	o := Options{Promises: FileSystem, Bound: bound, everything: everything}
	r := Explore(t, o, func(ctx context.Context, d *Driver) *Program {
		p := &Program{}
		answers := make([]string, len(programs))
		for i, calls := range programs {
			p.Operations = append(p.Operations, Operation{Run: func(ctx context.Context) {
				for _, c := range calls {
					answers[i] += c(ctx, d) + ";"
				}
			}})
		}
		p.Check = func(History) error {
			end := fmt.Sprint(answers)
			for _, key := range []string{"a/x", "b/x", "b/y"} {
				data, _, err := d.Read(ctx, key)
				end += fmt.Sprint(string(data), err)
			}
			found[end] = true
			return nil
		}
		return p
	})
	if !r.Complete || len(r.Failures) > 0 {
		t.Fatalf("%+v", r)
	}
	return found
}

// Random schedules find what needs many deviations, and show it with few.
func TestWanderFindsALostUpdate(t *testing.T) {
	o := Options{Promises: FileSystem, Bound: 6, Crashes: true, Until: time.Now().Add(time.Minute)}
	r := Wander(t, o, 1, counters(3, true))
	if len(r.Failures) != 1 {
		t.Fatalf("%+v", r)
	}
	if f := r.Failures[0]; len(strings.Fields(f.Schedule)) > 6 {
		t.Errorf("%s\n%s", f.Schedule, f.Trace)
	}
	o.Until = time.Now().Add(100 * time.Millisecond)
	if r := Wander(t, o, 1, counters(3, false)); len(r.Failures) > 0 || r.Runs == 0 {
		t.Errorf("the right counter: %+v", r)
	}
}

func TestSchedulesAreReadAsTheyAreWritten(t *testing.T) {
	const text = "A3 B1 A! C12 B~ D1"
	choices, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if again := format(choices); again != text {
		t.Errorf("%q", again)
	}
	if _, err := parse("A3 Bx"); err == nil {
		t.Error("read what is no schedule")
	}
}
