// Package testfuzz holds what every fuzz target of a parser checks besides what the parser says: that a few bytes from outside
// do not become much memory or much work.
package testfuzz

import (
	"runtime"
	"testing"
	"time"
)

// Bounds that an input of n bytes may cost, wide enough for the overhead of fuzzing and of a busy machine, and narrow enough for
// whatever grows with the square of its input, or with a number that stands in it.
var usual = bounds{memory: 8 << 20, memoryPerByte: 256, time: 2 * time.Second, timePerByte: 50 * time.Microsecond}

type bounds struct {
	memory, memoryPerByte uint64
	time, timePerByte     time.Duration
}

// attempts is how often what is too much is measured.
const attempts = 3

// Proportionate runs f, which reads an input of n bytes, and fails where that allocates more memory or takes more of the
// processor than in proportion to n. What is too much is looked at again, since others may run in the same process: f must be
// repeatable.
func Proportionate(t testing.TB, n int, f func()) {
	t.Helper()
	usual.check(t, n, f)
}

func (b bounds) check(t testing.TB, n int, f func()) {
	t.Helper()
	mayTake, mayLast := b.memory+b.memoryPerByte*uint64(n), b.time+b.timePerByte*time.Duration(n) //nolint:gosec // a length
	memory, spent := Cost(f)
	for i := 1; i < attempts && (memory > mayTake || spent > mayLast); i++ {
		m, s := Cost(f)
		memory, spent = min(memory, m), min(spent, s)
	}
	if memory > mayTake {
		t.Errorf("an input of %d bytes made %d KiB in memory; %d KiB are in proportion", n, memory>>10, mayTake>>10)
	}
	if spent > mayLast {
		t.Errorf("an input of %d bytes took %v of the processor; %v are in proportion", n, spent, mayLast)
	}
}

// Cost runs f and returns how many bytes were allocated meanwhile, and how much time of the processor the process took.
func Cost(f func()) (memory uint64, spent time.Duration) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := processorTime()
	f()
	spent = processorTime() - began
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, spent
}
