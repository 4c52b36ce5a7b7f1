package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/internal/testfuzz"
)

// hostileManifests are texts that become much more than they are, for whoever reads them without a bound.
func hostileManifests() map[string]string {
	d := digest.FromString("x")
	image := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":1},`, d)
	list := func(element string, n int) string { return "[" + strings.Repeat(element+",", n) + element + "]" }
	return map[string]string{
		"empty layers":        image + `"layers":` + list(`{}`, 1_300_000) + `}`,
		"empty layers, fewer": image + `"layers":` + list(`{}`, 150_000) + `}`,
		"whole layers":        image + `"layers":` + list(fmt.Sprintf(`{"digest":%q,"platform":{}}`, d), 20_000) + `}`,
		"three lists":         image + `"layers":` + list(`{}`, 9_000) + `,"blobs":` + list(`{}`, 9_000) + `,"manifests":` + list(`{}`, 9_000) + `}`,
		"urls":                image + `"layers":[{"urls":` + list(`""`, 1_000_000) + `}]}`,
		"lists in lists":      image + `"x":` + strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000) + `}`,
		"a long string":       image + `"x":"` + strings.Repeat("x", 3_900_000) + `"}`,
		"escapes":             image + `"x":"` + strings.Repeat(`\u0000`, 650_000) + `"}`,
		"annotations":         image + `"annotations":{` + numbered(`"%d":""`, 300_000) + `}}`,
		"annotations, fewer":  image + `"annotations":{` + numbered(`"%d":""`, 150_000) + `}}`,
		"unknown keys":        image + numbered(`"%d":0`, 300_000) + `}`,
		"no JSON":             strings.Repeat(`{"`, 1_900_000),
	}
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// What a manifest becomes in memory is in proportion to its text, with room for some ten thousand descriptors.
func TestWhatAManifestBecomesInMemory(t *testing.T) {
	for name, text := range hostileManifests() {
		t.Run(name, func(t *testing.T) {
			least := ^uint64(0)
			for range 3 {
				memory, _ := testfuzz.Cost(func() {
					ParseManifest(ocispec.MediaTypeImageManifest, []byte(text)) //nolint:errcheck // whatever it says
				})
				least = min(least, memory)
			}
			t.Logf("%d KiB of text, %d KiB of memory", len(text)>>10, least>>10)
			if most := uint64(8*len(text) + 16<<20); least > most {
				t.Errorf("%d bytes of text became %d MiB", len(text), least>>20)
			}
		})
	}
}
