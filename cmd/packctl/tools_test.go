package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool returns the path of another project's program, which is built where it is not yet.
func tool(t *testing.T, name, program string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds " + name)
	}
	out, err := exec.CommandContext(t.Context(), "../../hack/tool.sh", name).Output()
	if err != nil {
		t.Fatal(name, err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), program)
}

// output runs another project's program.
func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v, %s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}
