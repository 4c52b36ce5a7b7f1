package main

import (
	"flag"
	"fmt"
	"time"
)

// leaderTimings are those of leader election.
type leaderTimings struct {
	lease, renew, retry time.Duration
}

func (l *leaderTimings) bind(flags *flag.FlagSet) {
	flags.DurationVar(&l.lease, "leader-elect-lease-duration", 15*time.Second, "how long after its last renewal a replica that leads is taken for gone")
	flags.DurationVar(&l.renew, "leader-elect-renew-deadline", 10*time.Second, "how long the replica that leads tries to renew its lease before it gives up and ends")
	flags.DurationVar(&l.retry, "leader-elect-retry-period", 2*time.Second, "how long replicas wait between attempts to get or renew the lease")
}

// check refuses timings with which two replicas could lead at once, or none could for long.
func (l *leaderTimings) check() error {
	switch {
	case l.lease < time.Second:
		return fmt.Errorf("--leader-elect-lease-duration=%s: a Lease counts whole seconds, give 1s or more", l.lease)
	case l.retry <= 0:
		return fmt.Errorf("--leader-elect-retry-period=%s: it must be above zero", l.retry)
	case l.lease <= l.renew:
		return fmt.Errorf("--leader-elect-lease-duration=%s must be longer than --leader-elect-renew-deadline=%s", l.lease, l.renew)
	case float64(l.renew) <= 1.2*float64(l.retry): // client-go varies the period by that much
		return fmt.Errorf("--leader-elect-renew-deadline=%s must be longer than 1.2 times --leader-elect-retry-period=%s", l.renew, l.retry)
	}
	return nil
}
