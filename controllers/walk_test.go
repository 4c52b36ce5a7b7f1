package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A walk takes random steps with a PackRegistry on a real API server, with the real controllers of Deployments, quotas and
// garbage: edits, rotations, deletions, refusals, crashes. After each step it waits until nothing moves and checks what must
// hold then (walk_invariants_test.go). Faults that are combinations of what was tested alone fall out of it.
//
//	go test ./controllers -run TestRandomWalk -walk.seed=7                 the walk of one seed
//	go test ./controllers -run TestRandomWalk -walk.steps=steps.json       a sequence from a file
//	PACKREGISTRY_SEED=7 go test ./controllers -run TestRandomWalk       the same
//	PACKREGISTRY_SOAK=30m go test ./controllers -run TestRandomWalk -timeout 0
//
// What fails is shrunk and printed; put it into testdata/walks, where sequences are kept that are always walked.
var (
	walkSeed   = flag.Uint64("walk.seed", 0, "walk only the sequence of this seed")
	walkSteps  = flag.String("walk.steps", "", "walk only the sequence in this file")
	walkLength = flag.Int("walk.length", 14, "how many steps a walk has")
	walkShrink = flag.Duration("walk.shrink", 2*time.Minute, "for how long a failing sequence is shrunk")
)

// seeds are those of the walks in a test that is no soak: a change is tried by the same walks as the one before. A soak finds
// new ones.
var seeds = []uint64{1855902788, 2067450994, 3519272343}

// keptWalk is a file of testdata/walks.
type keptWalk struct {
	About string `json:"about"`
	Steps []step `json:"steps"`
}

func readWalk(t *testing.T, path string) keptWalk {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	var kept keptWalk
	must(t, json.Unmarshal(text, &kept))
	return kept
}

func TestRandomWalk(t *testing.T) {
	needAPI(t)
	t.Parallel()
	c := startWalkCluster(t)
	if *walkSteps != "" {
		walkAndShrink(t, c, readWalk(t, *walkSteps).Steps)
		return
	}
	if text := os.Getenv("PACKREGISTRY_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		*walkSeed = seed
	}
	if *walkSeed != 0 {
		walkAndShrink(t, c, generate(*walkSeed, *walkLength))
		return
	}
	files, err := filepath.Glob(filepath.Join("testdata", "walks", "*.json"))
	must(t, err)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			if err := takeWalk(t, c, readWalk(t, file).Steps); err != nil {
				t.Error(err)
			}
		})
	}
	text := os.Getenv("PACKREGISTRY_SOAK")
	if text == "" {
		for _, seed := range seeds {
			t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
				t.Parallel()
				walkAndShrink(t, c, generate(seed, *walkLength))
			})
		}
		return
	}
	duration, err := time.ParseDuration(text)
	must(t, err)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)) //nolint:gosec // no secret
	for end := time.Now().Add(duration); time.Now().Before(end); {
		seed := random.Uint64N(1 << 32)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { walkAndShrink(t, c, generate(seed, *walkLength)) })
	}
}

var walksTaken atomic.Int64

// takeWalk walks a sequence in namespaces of its own.
func takeWalk(t *testing.T, c *walkCluster, steps []step) (err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	k, err := newWalk(ctx, t, c, fmt.Sprintf("walk-%d", walksTaken.Add(1)))
	if k != nil {
		defer func() {
			if endErr := k.end(ctx); endErr != nil {
				err = cmp.Or(err, endErr)
			}
		}()
	}
	if err != nil {
		return err
	}
	for i, s := range steps {
		began := time.Now()
		outcome, err := k.do(ctx, t, s)
		if err == nil {
			err = k.settle(ctx)
		}
		if testing.Verbose() {
			t.Logf("%2d %s %s (%s)", i, s, outcome, time.Since(began).Round(time.Millisecond))
		}
		if err == nil {
			err = k.check(s)
		}
		if err != nil {
			return fmt.Errorf("after step %d, %s: %w", i, s, err)
		}
	}
	return nil
}

// walkAndShrink walks a sequence. One that fails is shrunk, by leaving out steps as long as it fails, and printed.
func walkAndShrink(t *testing.T, c *walkCluster, steps []step) {
	t.Helper()
	err := takeWalk(t, c, steps)
	if err == nil {
		return
	}
	t.Logf("it failed, and is shrunk now: %v\n%s", err, printed(steps))
	var failed int
	if _, scanErr := fmt.Sscanf(err.Error(), "after step %d,", &failed); scanErr == nil {
		steps = steps[:failed+1]
	}
	for end := time.Now().Add(*walkShrink); ; {
		shorter := false
		for i := len(steps) - 1; i >= 0 && time.Now().Before(end); i-- {
			fewer := slices.Delete(slices.Clone(steps), i, i+1)
			if e := takeWalk(t, c, fewer); e != nil {
				steps, err, shorter = fewer, e, true
			}
		}
		if !shorter {
			break
		}
	}
	t.Errorf("%v\nshrunk to:\n%s", err, printed(steps))
}

func printed(steps []step) string {
	var b strings.Builder
	b.WriteString(`{"about": "", "steps": [` + "\n")
	for i, s := range steps {
		b.WriteString("  " + s.String())
		if i < len(steps)-1 {
			b.WriteString(",")
		}
		b.WriteString("\n")
	}
	b.WriteString("]}")
	return b.String()
}
