//go:build !race

package controllers

// raceDetector says that the tests run with the race detector.
const raceDetector = false
