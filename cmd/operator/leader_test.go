package main

import (
	"flag"
	"strings"
	"testing"
)

// Timings that client-go would refuse, after a while and without the flags' names, are refused at once.
func TestLeaderTimings(t *testing.T) {
	for args, want := range map[string]string{
		"": "",
		"--leader-elect-lease-duration=60s --leader-elect-renew-deadline=40s --leader-elect-retry-period=5s": "",
		"--leader-elect-lease-duration=10s":                                       "--leader-elect-lease-duration=10s must be longer than --leader-elect-renew-deadline=10s",
		"--leader-elect-lease-duration=500ms":                                     "give 1s or more",
		"--leader-elect-retry-period=0s":                                          "above zero",
		"--leader-elect-renew-deadline=6s --leader-elect-retry-period=5s":         "1.2 times --leader-elect-retry-period=5s",
		"--leader-elect-renew-deadline=6001ms --leader-elect-retry-period=5s":     "",
		"--leader-elect-lease-duration=15001ms --leader-elect-renew-deadline=15s": "",
	} {
		var l leaderTimings
		flags := flag.NewFlagSet("operator", flag.ContinueOnError)
		l.bind(flags)
		if err := flags.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		err := l.check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
