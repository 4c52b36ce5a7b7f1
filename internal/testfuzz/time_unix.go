//go:build unix

package testfuzz

import (
	"syscall"
	"time"
)

// processorTime is what the process has taken of the processors, so that what else runs on the machine does not count.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
