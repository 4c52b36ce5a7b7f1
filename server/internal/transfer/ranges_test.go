package transfer

import (
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
)

// Ranges are counted before anything is made of them.
func FuzzRanges(f *testing.F) {
	f.Add("bytes=0-1,2-3", int64(10))
	f.Add("bytes="+strings.Repeat("0-,", 10_000), int64(1<<40))
	f.Add("bytes=-9223372036854775808,9223372036854775807-", int64(0))
	f.Fuzz(func(t *testing.T, ranges string, size int64) {
		testfuzz.Proportionate(t, len(ranges), func() { reasonable(ranges, max(size, 0)) })
	})
}
