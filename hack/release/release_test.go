package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"packregistry.dev/internal/testserver"
)

// build makes a release for this machine's platform from the sources.
func build(t *testing.T, image string) string {
	t.Helper()
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	b := builder{version: "1.2.3", source: source, output: filepath.Join(t.TempDir(), "dist"), repository: "example.com/mine", image: image,
		kubectl: filepath.Join(testserver.Tool(t, "cluster"), "kubectl"), sbom: filepath.Join(testserver.Tool(t, "cyclonedx-gomod"), "cyclonedx-gomod"),
		platforms: []string{"linux/" + runtime.GOARCH}}
	if err := b.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b.output
}

func TestRelease(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	compile := exec.CommandContext(t.Context(), "go", "build", "-C", "../image", "-o", image, ".")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	first, second := build(t, image), build(t, image)
	if err := compare(first, second); err != nil {
		t.Errorf("built twice: %v", err)
	}
	release, err := verify(first)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("Helm reads the chart", func(t *testing.T) {
		helm := filepath.Join(testserver.Tool(t, "helm"), "helm")
		out, err := exec.CommandContext(t.Context(), helm, "template", "x", filepath.Join(first, "packregistry-operator-1.2.3.tgz")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, i := range release.Images {
			if !strings.Contains(string(out), i.Repository+"@"+i.Digest) {
				t.Errorf("the chart does not name %s@%s", i.Repository, i.Digest)
			}
		}
	})
	files, err := os.ReadDir(first)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run("changed "+f.Name(), func(t *testing.T) { changedIsRefused(t, first, f) })
	}
	// What a published release has besides.
	if err := os.WriteFile(filepath.Join(first, signatureFile), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(first); err != nil {
		t.Errorf("signed: %v", err)
	}
	if err := os.WriteFile(filepath.Join(first, "more"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(first); err == nil || !strings.Contains(err.Error(), "more is not part") {
		t.Errorf("a file more: %v", err)
	}
}

// changedIsRefused changes a byte, and removes the file.
func changedIsRefused(t *testing.T, dir string, f fs.DirEntry) {
	path := filepath.Join(dir, f.Name())
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	err1 := os.WriteFile(path, data, 0o600)
	if _, err := verify(dir); err == nil {
		t.Error("a changed byte was not found")
	}
	err2 := os.Remove(path)
	if _, err := verify(dir); err == nil {
		t.Error("a missing file was not found")
	}
	data[len(data)/2] ^= 1
	err3 := os.WriteFile(path, data, 0o600)
	if _, err := verify(dir); errors.Join(err, err1, err2, err3) != nil {
		t.Error(err, err1, err2, err3)
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, version := range []string{"", "v1.2.3", "1.2", "latest"} {
		b := builder{version: version, output: t.TempDir()}
		if err := b.build(t.Context()); err == nil || !strings.Contains(err.Error(), "--version") {
			t.Errorf("%q: %v", version, err)
		}
	}
	b := builder{version: "1.2.3", output: "."}
	if err := b.build(t.Context()); err == nil || !strings.Contains(err.Error(), "holds files already") {
		t.Errorf("a folder with files: %v", err)
	}
}
