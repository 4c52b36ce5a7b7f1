package main

import (
	"fmt"
	"io"
	"time"
)

// report prints one line for each target of a load as soon as it is known.
type report struct {
	w      io.Writer
	rounds int
	rows   []row
}

// row is a load and what was measured of it.
type row struct {
	load    load
	results []result
}

func newReport(w io.Writer, o options) *report {
	fmt.Fprintf(w, "median of %d rounds; ratio: the registry's requests per second to that target's, round by round\n", o.rounds)
	fmt.Fprintf(w, "%-58s %-12s %10s %9s %9s %9s %9s %9s %8s %6s\n", "load", "target", "req/s", "MiB/s", "p50", "p99", "cpu/req", "cpu s/GiB", "peak MiB", "ratio")
	return &report{w: w, rounds: o.rounds}
}

func (r *report) add(l load, results []result) {
	r.rows = append(r.rows, row{l, results})
	for i, one := range results {
		name := l.String()
		if i > 0 {
			name = ""
		}
		moved := one.median(func(s sample) float64 { return float64(s.bytes) / s.took.Seconds() / mib })
		cpu := one.median(func(s sample) float64 { return float64(s.processor) / float64(max(s.requests, 1)) })
		perGiB := one.median(func(s sample) float64 { return s.processor.Seconds() / (float64(max(s.bytes, 1)) / (1 << 30)) })
		processor, gib, memory, compared := "-", "-", "-", ""
		if one.samples[0].known {
			processor = round(time.Duration(cpu))
			memory = fmt.Sprintf("%.0f", one.median(func(s sample) float64 { return float64(s.peak) / mib }))
			if l.size > 0 {
				gib = fmt.Sprintf("%.2f", perGiB)
			}
		}
		through := "-"
		if l.size > 0 {
			through = fmt.Sprintf("%.0f", moved)
		}
		if i > 0 {
			compared = fmt.Sprintf("%.2f", ratio(results[0], one, sample.rate))
		}
		fmt.Fprintf(r.w, "%-58s %-12s %10.0f %9s %9s %9s %9s %9s %8s %6s\n", name, one.target.name,
			one.median(sample.rate), through,
			one.latency(0.5), one.latency(0.99),
			processor, gib, memory, compared)
	}
}

// latency is the median over the rounds of a percentile of the requests' latencies.
func (r result) latency(percentile float64) string {
	return round(time.Duration(r.median(func(s sample) float64 { return float64(s.percentile(percentile)) })))
}

// round shows three digits of a duration.
func round(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}
