package testserver

import (
	"os"
	"testing"
)

// Missing ends a test for which the machine lacks something: it fails in CI, where nothing may be left out, and is skipped elsewhere.
// The message says what is missing and how to get it.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
