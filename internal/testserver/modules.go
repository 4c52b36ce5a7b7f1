package testserver

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
)

// ModuleFiles are files of a Go module that a tool of hack/tools is built with, such as the custom resources that come with
// a controller.
func ModuleFiles(t testing.TB, tool, module string, patterns ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = filepath.Join(root(), "hack", "tools", tool)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v", module, err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, pattern := range patterns {
		matches, err := filepath.Glob(filepath.Join(found.Dir, pattern))
		if err != nil || len(matches) == 0 {
			t.Fatalf("%s has no %s: %v", module, pattern, err)
		}
		files = append(files, matches...)
	}
	return files
}
