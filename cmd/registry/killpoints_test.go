package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
)

// This file kills a registry at every call that it makes to its storage while a client does one thing after another. The
// client repeats what got no answer as clients do, with the same URL, to a registry that was started in the killed one's place;
// then what was acknowledged is read back.

// play tells the story to a registry that dies somewhere in it, and reads back what was acknowledged.
// between is called in between.
func play(t *testing.T, seed uint64, config string, launch func() *process, between func()) (killed bool) {
	t.Helper()
	s := &story{t: t, random: rand.New(rand.NewPCG(seed, 0)), config: config, p: launch(), //nolint:gosec // a test
		tags: map[string]digest.Digest{}, named: map[digest.Digest][]string{}, blobs: map[string]bool{}}
	s.play()
	between()
	s.check()
	s.collect()
	s.check()
	s.p.kill()
	return s.revived
}

// order sends a signal and waits for what the process says to it; it returns what follows.
func (p *process) order(signal syscall.Signal, answer string) (rest string) {
	p.t.Helper()
	p.cmd.Process.Signal(signal) //nolint:errcheck // then there is no answer
	testserver.Eventually(p.t, answer, 10*time.Second, func() (found bool) {
		_, rest, found = strings.Cut(p.output.String(), answer)
		return found
	})
	return rest
}

const quiet = "version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: {%s, maintenance: {uploadpurging: {enabled: false}, garbagecollection: {grace: 1ns, keepuntagged: 1ns}}}\n" +
	"health: {storagedriver: {enabled: false}}\nhttp: {addr: '127.0.0.1:0'}\n"

// killedAtEach runs the story once to count its calls, and then once for each call of some, or in a soak of all, at which
// the registry is killed. run says how many calls there were and whether it was.
func killedAtEach(t *testing.T, seed uint64, few int, over func() bool, run func(t *testing.T, n int) (calls int, killed bool)) {
	t.Helper()
	calls, _ := run(t, 0)
	if soak(t) > 0 {
		few = calls
	}
	kills := 0
	for _, n := range rand.New(rand.NewPCG(seed, 1)).Perm(calls)[:min(few, calls)] { //nolint:gosec // a test
		if over() {
			break
		}
		t.Run(fmt.Sprintf("call %d", n+1), func(t *testing.T) {
			if _, killed := run(t, n+1); killed {
				kills++
			}
		})
	}
	t.Logf("killed %d times in a story of %d calls", kills, calls)
	if kills == 0 && !over() { // the last calls may not be made again
		t.Error("it was never killed")
	}
}

func TestKilledAtEveryCallOnAFileSystem(t *testing.T) {
	forSeeds(t, soakShare, func(t *testing.T, seed uint64, over func() bool) {
		killedAtEach(t, seed, 6, over, func(t *testing.T, n int) (calls int, killed bool) {
			root := testserver.MemoryDir(t)
			config := configFile(t, fmt.Sprintf(quiet, "filesystem: {rootdirectory: "+root+"}"))
			var traced *process
			launch := func() *process {
				traced = launchKilled(t, root, n, []string{"serve", config})
				traced.order(syscall.SIGUSR1, "tracer: counting")
				return traced
			}
			killed = play(t, seed+uint64(n), config, launch, func() { //nolint:gosec // small
				if n == 0 {
					fmt.Sscan(traced.order(syscall.SIGUSR2, "tracer: counted "), &calls) //nolint:errcheck // then it is none
				}
			})
			return calls, killed
		})
	})
}

func TestKilledAtEveryCallOnS3(t *testing.T) {
	server := testserver.StartS3(t)
	proxy := testserver.StartProxy(t, server.Endpoint)
	forSeeds(t, soakShare, func(t *testing.T, seed uint64, over func() bool) {
		killedAtEach(t, seed, 6, over, func(t *testing.T, n int) (calls int, killed bool) {
			config := configFile(t, fmt.Sprintf(quiet, fmt.Sprintf("s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}",
				server.Bucket(t), proxy.Endpoint, server.AccessKey, server.SecretKey)))
			// Before the server sees the call, or after it has carried it out.
			fault := []testserver.Fault{testserver.HalfRequest, testserver.Lost}[(n+int(seed%2))%2] //nolint:gosec // 0 or 1
			var count atomic.Int64
			proxy.Inject(func(*http.Request) testserver.Fault { return testserver.None })
			launch := func() *process {
				p := launch(t, nil, []string{"serve", config}, nil)
				proxy.Inject(func(*http.Request) testserver.Fault {
					if count.Add(1) != int64(n) {
						return testserver.None
					}
					p.kill()
					return fault
				})
				return p
			}
			killed = play(t, seed+uint64(n), config, launch, func() { calls = int(count.Load()) }) //nolint:gosec // small
			return calls, killed
		})
	})
}
