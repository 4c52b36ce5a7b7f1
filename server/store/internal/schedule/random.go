package schedule

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Wander runs a program along random schedules with up to o.Bound deviations, until o.Until: for bounds at which there
// are too many schedules to try them all. The first failure ends it, with as few deviations as it can be had.
func Wander(t *testing.T, o Options, seed uint64, build func(ctx context.Context, d *Driver) *Program) Result {
	x := &explorer{o: o, build: build, shared: newShared()}
	x.o.Failures = 1
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable
	length := 50
	for len(x.result.Failures) == 0 && time.Now().Before(o.Until) {
		left := 1 + random.IntN(o.Bound)
		// About as many deviations as are left happen in a run of that length.
		often := float64(left) / float64(length)
		r, err, _ := x.execute(t, false, func(_ *run, options []option) (choice, bool, error) {
			// What costs nothing is chosen at random too: who goes on when another has ended.
			among := slices.IndexFunc(options, func(o option) bool { return o.cost > 0 })
			if among < 0 {
				among = len(options)
			}
			if left > 0 && among < len(options) && random.Float64() < often {
				if other := options[among+random.IntN(len(options)-among)]; other.cost <= left {
					left -= other.cost
					return other.choice, false, nil
				}
			}
			return options[random.IntN(among)].choice, false, nil
		})
		length = max(r.steps, 1)
		x.result.Runs++
		if err != nil {
			x.fail(t, x.shrink(t, r.chosen), err)
		}
	}
	return x.result
}

// shrink leaves choices out of a schedule as long as it fails without them.
func (x *explorer) shrink(t *testing.T, chosen []choice) []choice {
	for i := 0; i < len(chosen); {
		less, fails := x.follow(t, slices.Delete(slices.Clone(chosen), i, i+1))
		if fails && switches(less) < switches(chosen) {
			chosen, i = less, 0
		} else {
			i++
		}
	}
	return chosen
}

// switches counts what makes a schedule hard to read.
func switches(chosen []choice) int {
	n := 0
	for i, c := range chosen {
		if i > 0 && c != chosen[i-1] {
			n++
		}
	}
	return n
}

// follow runs a schedule, passing over choices that cannot be made, and says whether it fails.
func (x *explorer) follow(t *testing.T, wanted []choice) (chosen []choice, fails bool) {
	r, err, _ := x.execute(t, false, func(_ *run, options []option) (choice, bool, error) {
		for len(wanted) > 0 {
			next := wanted[0]
			wanted = wanted[1:]
			if slices.ContainsFunc(options, func(o option) bool { return o.choice == next }) {
				return next, false, nil
			}
		}
		return options[0].choice, false, nil
	})
	return r.chosen, err != nil
}
