//go:build !unix

package testfuzz

import "time"

var start = time.Now()

// processorTime is the time that has passed, where nobody says how much of it was the process's.
func processorTime() time.Duration { return time.Since(start) }
