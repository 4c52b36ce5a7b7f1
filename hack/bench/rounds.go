package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// sample is what one round of a load on one target showed.
type sample struct {
	took      time.Duration
	requests  int
	bytes     int64
	latencies []time.Duration
	// processor is the target's own time; known says whether the system told.
	processor time.Duration
	known     bool
	peak      int64
}

// result is all rounds of one target.
type result struct {
	target  *target
	samples []sample
}

// measure runs a load on the registry, on the peer if there is one, and on the bare limit where the load has one.
func (l *laboratory) measure(ctx context.Context, load load) (_ []result, err error) {
	var results []result
	for round := range l.options.rounds {
		targets, release, err := l.targets(ctx, load)
		if err != nil {
			return nil, err
		}
		if results == nil {
			results = make([]result, len(targets))
		}
		for i := range targets {
			i = (i + round) % len(targets)
			s, failed := l.round(ctx, load, targets[i])
			if failed != nil {
				return nil, errors.Join(failed, release())
			}
			results[i].target = targets[i]
			results[i].samples = append(results[i].samples, s)
		}
		if err := release(); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// targets starts what a round of a load runs on, and returns what ends that which is not kept for other loads.
func (l *laboratory) targets(ctx context.Context, load load) (list []*target, release func() error, err error) {
	var own []*target
	release = func() error {
		var err error
		for _, t := range own {
			err = errors.Join(err, t.stop())
		}
		return err
	}
	registry, err := l.registryFor(ctx, load)
	if err != nil {
		return nil, nil, err
	}
	if registry != l.shared {
		own = append(own, registry)
	}
	list = append(list, registry)
	others, owned, err := l.peers(ctx, load)
	own, list = append(own, owned...), append(list, others...)
	if err != nil {
		return nil, nil, errors.Join(err, release())
	}
	if load.driver == "filesystem" && load.chunk == 0 && load.size > 0 && !load.auth {
		bare, err := l.startBare(ctx)
		if err != nil {
			return nil, nil, errors.Join(err, release())
		}
		own, list = append(own, bare), append(list, bare)
	}
	return list, release, nil
}

// registryFor returns the registry that a load runs on: one that the loads of a driver share, but an empty one for each
// round of pushes, so that what was pushed is gone again before the disk is full.
func (l *laboratory) registryFor(ctx context.Context, load load) (*target, error) {
	if load.kind == "push" {
		return l.start(ctx, load)
	}
	key := fmt.Sprint(load.driver, load.auth, load.tls)
	if l.shared != nil && l.sharedFor == key {
		return l.shared, nil
	}
	if err := l.release(); err != nil {
		return nil, err
	}
	var err error
	l.shared, err = l.start(ctx, load)
	l.sharedFor = key
	return l.shared, err
}

// round prepares a target and runs one round on it.
func (l *laboratory) round(ctx context.Context, load load, t *target) (sample, error) {
	count := load.count()
	do, err := load.prepare(ctx, t, count)
	if err != nil {
		return sample{}, fmt.Errorf("prepare %s: %w", t.name, err)
	}
	s, err := runRound(ctx, t, load.clients, count, l.options.duration, do)
	if err != nil {
		err = fmt.Errorf("%s: %w", t.name, err)
	}
	return s, err
}

// count is how many operations a round has, where it does not go on for a time instead: those that move content.
func (l load) count() int {
	if l.kind != "push" && l.kind != "pull" {
		return 0
	}
	total := int64(64 * mib)
	if l.quick {
		total = 2 * mib
	}
	return l.clients * max(1, int(total/l.size)/l.clients)
}

// runRound lets each client do the operation over and over: count times in all, or for a time.
func runRound(ctx context.Context, t *target, clients, count int, duration time.Duration, do operation) (sample, error) {
	wires := make([]*wire, clients)
	for i := range wires {
		w, err := dial(ctx, t.url, t.tls, t.auth)
		if err != nil {
			return sample{}, err
		}
		defer w.close()
		wires[i] = w
	}
	resetPeak(t.pid)
	before, known := processorTime(t.pid)
	began := time.Now()
	deadline := began.Add(duration)
	samples := make([]sample, clients)
	failures := make([]error, clients)
	var group sync.WaitGroup
	for i, w := range wires {
		group.Go(func() {
			s := &samples[i]
			for n := 0; ctx.Err() == nil && failures[i] == nil; n++ {
				started := time.Now()
				if count > 0 && n == count/clients || count == 0 && started.After(deadline) {
					return
				}
				var moved int64
				moved, failures[i] = do(w)
				s.latencies = append(s.latencies, time.Since(started))
				s.bytes += moved
			}
		})
	}
	group.Wait()
	all := sample{took: time.Since(began), known: known, peak: peak(t.pid)}
	after, _ := processorTime(t.pid)
	all.processor = after - before
	for _, s := range samples {
		all.bytes += s.bytes
		all.latencies = append(all.latencies, s.latencies...)
	}
	all.requests = len(all.latencies)
	slices.Sort(all.latencies)
	for _, err := range failures { // one of fifty that say the same
		if err != nil {
			return all, err
		}
	}
	return all, ctx.Err()
}

// percentile of latencies that are sorted.
func (s sample) percentile(p float64) time.Duration {
	if len(s.latencies) == 0 {
		return 0
	}
	return s.latencies[min(int(p*float64(len(s.latencies))), len(s.latencies)-1)]
}

// rate is requests per second.
func (s sample) rate() float64 { return float64(s.requests) / s.took.Seconds() }

// median of a figure over a result's rounds.
func (r result) median(figure func(sample) float64) float64 {
	list := make([]float64, 0, len(r.samples))
	for _, s := range r.samples {
		list = append(list, figure(s))
	}
	return medianOf(list)
}

func medianOf(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// ratio compares two targets round by round.
func ratio(a, b result, figure func(sample) float64) float64 {
	var list []float64
	for i := range min(len(a.samples), len(b.samples)) {
		if other := figure(b.samples[i]); other > 0 {
			list = append(list, figure(a.samples[i])/other)
		}
	}
	return medianOf(list)
}
