// Package testpack makes packs for tests.
package testpack

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// Metadata is the smallest valid pack.json.
func Metadata(name, version string) string {
	return fmt.Sprintf(`{"name": %q, "displayName": "Test", "version": %q, "layer": "addon", "kubeManifests": ["manifests/app.yaml"]}`, name, version)
}

// Files are those of a small valid pack.
func Files(name, version string) map[string]string {
	return map[string]string{
		"pack.json":          Metadata(name, version),
		"values.yaml":        "pack: {}\n",
		"README.md":          "# Test\n",
		"logo.png":           "\x89PNG\r\n\x1a\nnot really",
		"manifests/app.yaml": "kind: ConfigMap\n",
	}
}

// Dir writes a valid pack, with changes over it, to a new folder. An empty content removes a file.
func Dir(t testing.TB, name, version string, changes map[string]string) string {
	t.Helper()
	files := Files(name, version)
	maps.Copy(files, changes)
	dir := t.TempDir()
	for path, content := range files {
		if content == "" {
			continue
		}
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
