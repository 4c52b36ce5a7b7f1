package main

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// soak is how long `make soak` wants tests to run, and zero in `make test`.
func soak(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv("PACKREGISTRY_SOAK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("PACKREGISTRY_SOAK: %v", err)
	}
	return d
}

// forSeeds runs a test once, or in a soak with one seed after another until its time is up. A test that takes long asks.
func forSeeds(t *testing.T, share time.Duration, test func(t *testing.T, seed uint64, over func() bool)) {
	t.Helper()
	seed, begun := rand.Uint64(), time.Now() //nolint:gosec // a test
	if text := os.Getenv("PACKREGISTRY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	over := func() bool { return t.Failed() || soak(t) > 0 && time.Since(begun) >= soak(t)/share }
	for ; ; seed++ {
		t.Logf("PACKREGISTRY_SEED=%d", seed)
		if test(t, seed, over); soak(t) == 0 || over() {
			return
		}
	}
}

// soakShare is the part of a soak that each of the tests here takes: they run one after another.
const soakShare = 3
