package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/internal/share"
)

// takeAll takes all of what is shared, in the names of as many holders as that needs, and returns how many these were.
func takeAll(t *testing.T, from *share.Pool, n int64) (holders int) {
	t.Helper()
	for {
		name, taken := fmt.Sprint("holder ", holders), int64(0)
		for from.TryAcquire(name, n) {
			taken += n
		}
		if taken == 0 {
			return holders
		}
		holders++
		t.Cleanup(func() { from.Release(name, taken) })
	}
}

// Who reads files and manifests, from however many addresses, does not keep others from pushing.
func TestReadersLeavePushesTheirShares(t *testing.T) {
	f := open0(t)
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", f.packManifest("demo", "1.0.0", nil)), 201)
	signature := "sha256-" + digest.FromString("").Encoded() + ".sig"
	f.tagged("spectro-packs/archive/demo", signature)
	takeAll(t, f.unpacks, 1)
	for _, n := range []int64{3_900_000, 1} {
		takeAll(t, f.manifests.memory, n)
	}
	f.want(f.do("GET", "/v1/demo/files/1.0.0/values.yaml", nil), http.StatusTooManyRequests)
	// Nor does looking for the archive of what is no pack, of which nothing is recorded, take what pushes are parsed with.
	f.want(f.do("GET", "/v1/demo/files/"+signature+"/values.yaml", nil), http.StatusTooManyRequests)
	f.want(f.putManifest("/v1/other/manifests/1.0.0", f.packManifest("other", "1.0.0", nil)), 201)
	large := `{"schemaVersion":2,"manifests":[],"x":"` + strings.Repeat("x", 3_900_000) + `"}`
	f.want(f.do("PUT", "/v2/r/manifests/large", strings.NewReader(large), "Content-Type", imageIndex), 201)
}

// Who pushes large manifests, from however many addresses, does not keep others from pushing what manifests usually are, nor from reading.
func TestLargePushesLeaveSmallOnesThrough(t *testing.T) {
	f := open0(t)
	large := `{"schemaVersion":2,"manifests":[],"x":"` + strings.Repeat("x", 1_000_000) + `"}`
	f.want(f.do("PUT", "/v2/r/manifests/large", strings.NewReader(large), "Content-Type", imageIndex), 201)
	for _, n := range []int64{manifestWeight << 20, 1 << 10, 1} {
		takeAll(t, f.manifests.pushes, n)
	}
	f.want(f.do("PUT", "/v2/r/manifests/x", strings.NewReader(large), "Content-Type", imageIndex), http.StatusTooManyRequests)
	f.want(f.putManifest("/v1/demo/manifests/1.0.0", f.packManifest("demo", "1.0.0", nil)), 201)
	f.want(f.do("GET", "/v2/r/manifests/large", nil), 200)
}

// docs/configuration.md says how many users or addresses it takes to take all places.
func TestHowManyTakeAllPlaces(t *testing.T) {
	f := open0(t)
	for name, tt := range map[string]struct {
		pool    *share.Pool
		holders int
	}{"uploads": {f.uploads, 72}, "unpacks": {f.unpacks, 8}, "validations": {f.validations, 5}} {
		if n := takeAll(t, tt.pool, 1); n != tt.holders {
			t.Errorf("%s: %d holders take all, want %d", name, n, tt.holders)
		}
	}
}
