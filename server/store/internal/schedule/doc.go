// Package schedule runs several operations on one storage in every order that matters, instead of in whatever order the
// machine happens to choose. It is a systematic concurrency tester in the manner of Microsoft's CHESS.
//
// # How it works
//
// An operation (a push, a deletion, a collection) is a goroutine that works on a Driver of this package. The Driver stops
// it before each call to the storage, and a scheduler lets exactly one call happen at a time. What the operations do
// between two calls touches nothing that they share, so a run is described completely by the order of the calls: its
// schedule. Each run starts on a fresh storage and follows one schedule; afterwards a check says whether what is left is
// right. Explore repeats that until it has tried every schedule.
//
// There are too many schedules to try them all, so they are tried in the order of how unlikely they are. Letting an
// operation go on until it ends costs nothing; each deviation from that costs one:
//
//   - a preemption: another operation goes on although this one could;
//   - a crash: the operation's process dies, and its next calls never happen;
//   - a late write: the process dies, and the request that it had sent takes effect at some later time;
//   - a repeated request: the storage gets a deletion twice, the second time at some later time.
//
// All schedules with no deviation come first, then all with one, up to a bound. Nearly every fault of concurrent
// programs shows with two or three. So the first failure that is found is also the simplest one that there is.
//
// # What makes it fast
//
// Two orders of calls that touch different objects lead to the same state. The scheduler gives each state a fingerprint:
// what each operation has seen so far, who wrote what lies at each key, and the order in which operations began and ended.
// Where a run comes to a state that some run was in before, at no higher cost, there is nothing to learn from going on.
//
// # What it needs
//
// The code under test must be deterministic: the same answers from the storage lead to the same calls. Random numbers are the
// same in every run (see testing/cryptotest), and nonces and upload ids in keys are named after the operation that made them,
// so that they make no difference. Goroutines within an operation are fine: the
// scheduler waits until all of them are blocked (see testing/synctest) and lets their calls happen in the order of their
// keys. A run that does not repeat exactly is reported as such. Time is virtual: it passes only where an operation calls
// Wait, or where all of them sleep.
package schedule
