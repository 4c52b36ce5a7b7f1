package testfuzz

import (
	"testing"
	"time"
)

// failures notes what a check reports.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Helper()               {}
func (f *failures) Errorf(string, ...any) { f.n++ }

var sink []byte

func TestProportionate(t *testing.T) {
	narrow := usual
	narrow.time = 100 * time.Millisecond
	for name, tt := range map[string]struct {
		f    func()
		want int
	}{
		"nothing":     {func() {}, 0},
		"some memory": {func() { sink = make([]byte, 1<<20) }, 0},
		"much memory": {func() { sink = make([]byte, 64<<20) }, 1},
		"much time": {func() {
			for began := processorTime(); processorTime()-began < 300*time.Millisecond; {
			}
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			found := &failures{TB: t}
			if narrow.check(found, 10, tt.f); found.n != tt.want {
				t.Errorf("%d failures, want %d", found.n, tt.want)
			}
		})
	}
}
