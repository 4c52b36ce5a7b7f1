package auth

import "time"

// limit is how many failures are computed: burst at once, and one more after each interval.
type limit struct {
	burst    int
	interval time.Duration
}

// budget is what is used of a limit.
type budget struct {
	// running is how many are computed, each of which may turn out to be a failure.
	running int
	// clean is when the last failure is forgiven.
	clean time.Time
}

// failures is how many are not forgiven yet.
func (l limit) failures(b *budget, now time.Time) int {
	if left := b.clean.Sub(now); left > 0 {
		return int((left + l.interval - 1) / l.interval)
	}
	return 0
}

// free says whether one more may be computed.
func (l limit) free(b *budget, now time.Time) bool { return l.failures(b, now)+b.running < l.burst }

// wait is how long it is until the next failure is forgiven.
func (l limit) wait(b *budget, now time.Time) time.Duration {
	return b.clean.Sub(now) - time.Duration(l.failures(b, now)-1)*l.interval
}

// fail counts a failure.
func (l limit) fail(b *budget, now time.Time) {
	if b.clean.Before(now) {
		b.clean = now
	}
	b.clean = b.clean.Add(l.interval)
}
