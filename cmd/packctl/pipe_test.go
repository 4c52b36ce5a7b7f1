package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"packregistry.dev/internal/testpack"
)

// TestMain lets the tests run packctl as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_PACKCTL_RUN") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Who reads the output has seen enough, as `| head` has: packctl ends without a word, as other commands do.
func TestEndsQuietlyWithItsOutput(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], "pack", "validate", testpack.Dir(t, "demo", "1.0.0", nil))
	cmd.Env = append(os.Environ(), "TEST_PACKCTL_RUN=1")
	cmd.Stdout, cmd.Stderr = writer, &stderr
	err = cmd.Run()
	writer.Close()
	var exit *exec.ExitError
	if stderr.Len() > 0 {
		t.Errorf("it says %q", stderr.String())
	}
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE { //nolint:errcheck,forcetypeassert // it is one on Unix
		t.Errorf("it ended with %v, want %s", err, syscall.SIGPIPE)
	}
}
