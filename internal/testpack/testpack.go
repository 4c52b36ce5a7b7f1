// Package testpack makes packs for tests.
package testpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"image"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Metadata is the smallest valid pack.json.
func Metadata(name, version string) string {
	return fmt.Sprintf(`{"name": %q, "displayName": "Test", "version": %q, "layer": "addon", "kubeManifests": ["manifests/app.yaml"]}`, name, version)
}

// logo is a PNG of one pixel.
var logo = func() string {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		panic(err) // it is a buffer
	}
	return b.String()
}()

// Chart is the archive of a chart with these files, by their paths below its folder, besides its Chart.yaml.
func Chart(t testing.TB, name, version string, files map[string]string) string {
	t.Helper()
	all := map[string]string{"Chart.yaml": fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)}
	maps.Copy(all, files)
	return Archive(t, name, all)
}

// Archive is a compressed archive of files below one folder.
func Archive(t testing.TB, folder string, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	compressor := gzip.NewWriter(&b)
	archive := tar.NewWriter(compressor)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		text := files[file]
		if err := archive.WriteHeader(&tar.Header{Name: folder + "/" + file, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), compressor.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Files are those of a small valid pack.
func Files(name, version string) map[string]string {
	return map[string]string{
		"pack.json":          Metadata(name, version),
		"values.yaml":        "pack: {}\n",
		"README.md":          "# Test\n",
		"logo.png":           logo,
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
