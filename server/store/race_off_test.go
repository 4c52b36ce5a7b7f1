//go:build !race

package store

// raceDetector says that the tests run with the race detector.
const raceDetector = false
