package schedule

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

// Operation is what runs beside others.
type Operation struct {
	Name string
	// Run does it, on a driver that knows it by its context.
	Run func(ctx context.Context)
	// Immortal says that its process does not die.
	Immortal bool
}

// Program is what one run executes: operations on a storage that was set up, and a check of what they leave.
type Program struct {
	Operations []Operation
	// Check says whether everything is as it must be, once all is over.
	Check func(History) error
	// Uploads are the ids of uploads that were begun already.
	Uploads []string
	// Names replaces what is hard to read in keys.
	Names *strings.Replacer
}

// History is what happened in a run.
type History struct {
	// Actions are those that made a call, in the order in which they began.
	Actions []*Action
	// Died says that a process died, or that a request came late or twice.
	Died bool
}

// Options say what to explore.
type Options struct {
	Promises
	// Bound is how many deviations a schedule can have.
	Bound int
	// Crashes says that processes can die, once in each schedule.
	Crashes bool
	// Failures is how many failures are enough; zero is one.
	Failures int
	// Until is when to stop, if it is set.
	Until time.Time

	// everything says that no schedule is left out for being like another one.
	everything bool
}

// Failure is a schedule after which the check failed.
type Failure struct {
	Err error
	// Schedule can be given to Replay, and Trace says what happened.
	Schedule, Trace string
}

// Result is what an exploration came to.
type Result struct {
	// Runs counts runs up to their end, and Cut those that came to a state that was known.
	Runs, Cut int
	Failures  []Failure
	// Complete says that every schedule within the bound was tried.
	Complete bool
}

// task is a schedule to try: the beginning of one that was tried, and another choice.
type task struct {
	prefix []choice
	last   choice
	// state is what the beginning led to.
	state uint64
}

type explorer struct {
	o     Options
	build func(ctx context.Context, d *Driver) *Program
	// tasks are what is still to be tried, by the number of deviations.
	tasks   [][]task
	visited map[uint64]struct{}
	shared  shared
	result  Result
}

// Explore runs a program along every schedule. It builds the program anew, on an empty storage, for each of them.
func Explore(t *testing.T, o Options, build func(ctx context.Context, d *Driver) *Program) Result {
	x := &explorer{o: o, build: build, tasks: make([][]task, o.Bound+1), visited: map[uint64]struct{}{}, shared: newShared()}
	x.o.Failures = max(1, o.Failures)
	x.one(t, task{}, 0, true)
	for cost := 0; cost < len(x.tasks); cost++ {
		for len(x.tasks[cost]) > 0 && len(x.result.Failures) < x.o.Failures {
			if !o.Until.IsZero() && time.Now().After(o.Until) {
				return x.result
			}
			last := len(x.tasks[cost]) - 1
			next := x.tasks[cost][last]
			x.tasks[cost] = x.tasks[cost][:last]
			x.one(t, next, cost, false)
		}
	}
	x.result.Complete = len(x.result.Failures) < x.o.Failures
	return x.result
}

// one runs one schedule, and lists what else could have been done on the way.
func (x *explorer) one(t *testing.T, next task, cost int, first bool) {
	r, err, cut := x.execute(t, false, func(r *run, options []option) (choice, bool, error) {
		at := len(r.chosen)
		if !first && at < len(next.prefix) {
			return next.prefix[at], false, nil
		}
		state := r.state()
		if !first && at == len(next.prefix) {
			if state != next.state {
				return choice{}, false, errNotDeterministic
			}
			return next.last, false, nil
		}
		if _, known := x.visited[state]; known && !x.o.everything {
			return choice{}, true, nil
		}
		x.visited[state] = struct{}{}
		for _, other := range options[1:] {
			total := cost + other.cost
			if total > x.o.Bound {
				continue
			}
			later := task{r.chosen[:at:at], other.choice, state}
			if other.how == step && other.cost > 0 && !x.o.everything && x.shared.postpone(r.current, total, later) {
				continue
			}
			x.tasks[total] = append(x.tasks[total], later)
		}
		return options[0].choice, false, nil
	})
	if cut {
		x.result.Cut++
		return
	}
	x.result.Runs++
	if err != nil {
		x.fail(t, r.chosen, err)
	}
}

// visit notes who makes a call, and takes up what was postponed while nobody else seemed to make one that it matters to.
func (x *explorer) visit(t *thread, c *call) {
	if x.tasks == nil {
		return
	}
	for _, p := range x.shared.visit(t, c) {
		x.tasks[p.cost] = append(x.tasks[p.cost], p.task)
	}
}

// fail notes a failure, once for each thing that can be wrong.
func (x *explorer) fail(t *testing.T, chosen []choice, err error) {
	for _, known := range x.result.Failures {
		if known.Err.Error() == err.Error() {
			return
		}
	}
	again := Replay(t, x.o, format(chosen), x.build)
	if again.Err == nil {
		again.Err = fmt.Errorf("%w (and not again when it was repeated)", err)
	}
	x.result.Failures = append(x.result.Failures, again)
}

// Replay runs one schedule, and says what happened.
func Replay(t *testing.T, o Options, schedule string, build func(ctx context.Context, d *Driver) *Program) Failure {
	x := &explorer{o: o, build: build, shared: newShared()}
	choices, err := parse(schedule)
	if err != nil {
		return Failure{Err: err, Schedule: schedule}
	}
	r, err, _ := x.execute(t, true, func(r *run, options []option) (choice, bool, error) {
		if at := len(r.chosen); at < len(choices) {
			return choices[at], false, nil
		}
		return options[0].choice, false, nil
	})
	return Failure{err, schedule, r.show()}
}

// execute runs the program once, with choose making each decision; it may also cut the run short.
func (x *explorer) execute(t *testing.T, traced bool, choose func(*run, []option) (c choice, cut bool, err error)) (r *run, err error, cut bool) { //nolint:revive // cut says why there is no error
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, 1)
		d := newDriver(x.o.Promises)
		r = &run{driver: d, crashes: x.o.Crashes, contents: map[string]uint64{}, ids: map[string]string{}, traced: traced, visits: x.visit}
		program := x.build(t.Context(), d)
		for i, id := range program.Uploads {
			r.ids[id] = fmt.Sprintf("upload-%d", i+1)
		}
		r.start(t.Context(), program.Operations)
		defer func() {
			for _, thread := range r.threads {
				thread.crash()
			}
			r.finish(program)
		}()
		for {
			var options []option
			if options, err = r.options(); err != nil || len(options) == 0 {
				break
			}
			var c choice
			if c, cut, err = choose(r, options); cut || err != nil {
				return
			}
			if err = r.take(c); err != nil {
				return
			}
		}
		if err == nil {
			err = program.Check(History{r.actions, r.crashUsed})
		}
	})
	return r, err, cut
}

// format writes a schedule: the name of each thread and how many of its calls happen in a row, "!" for a crash, "~" for a
// late write, "+" for a request that is repeated. A late request goes by its thread's number.
func format(choices []choice) string {
	var text []string
	for i := 0; i < len(choices); {
		c, n := choices[i], 1
		for i+n < len(choices) && choices[i+n] == c && c.how == step {
			n++
		}
		name := string(rune('A' + c.thread))
		switch c.how {
		case crash:
			text = append(text, name+"!")
		case late:
			text = append(text, name+"~")
		case twice:
			text = append(text, name+"+")
		default:
			text = append(text, name+strconv.Itoa(n))
		}
		i += n
	}
	return strings.Join(text, " ")
}

func parse(schedule string) ([]choice, error) {
	var choices []choice
	for _, word := range strings.Fields(schedule) {
		c := choice{thread: word[0] - 'A'}
		switch word[1:] {
		case "!":
			c.how = crash
		case "~":
			c.how = late
		case "+":
			c.how = twice
		default:
			n, err := strconv.Atoi(word[1:])
			if err != nil {
				return nil, fmt.Errorf("schedule: %q is not a thread and a number of calls", word)
			}
			for range n - 1 {
				choices = append(choices, c)
			}
		}
		choices = append(choices, c)
	}
	return choices, nil
}

// finish makes the trace readable.
func (r *run) finish(program *Program) {
	for i := range r.trace {
		line := &r.trace[i]
		if program.Names != nil {
			line.key, line.outcome = program.Names.Replace(line.key), program.Names.Replace(line.outcome)
		}
	}
}

// show writes down what happened, one call on each line, with a gap where another operation goes on.
func (r *run) show() string {
	var b strings.Builder
	before := ""
	for _, line := range r.trace {
		if before != "" && before != line.thread {
			b.WriteByte('\n')
		}
		before = line.thread
		fmt.Fprintf(&b, "    %s  %-15s %-40s %s\n", line.thread, line.method, line.key, line.outcome)
	}
	return b.String()
}

// FromEnvironment returns the schedule that somebody wants to see again, if any.
func FromEnvironment() string { return os.Getenv("PACKREGISTRY_SCHEDULE") }
