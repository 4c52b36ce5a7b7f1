package filesystem_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/drivertest"
	"packregistry.dev/server/store/driver/filesystem"
)

func open(t *testing.T, root string) driver.Driver {
	t.Helper()
	d, err := filesystem.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) driver.Driver { return open(t, t.TempDir()) })
}

func TestObjectsOutliveTheProcess(t *testing.T) {
	root := t.TempDir()
	if err := open(t, root).Create(t.Context(), "a/b", []byte("x"), driver.Durable); err != nil {
		t.Fatal(err)
	}
	data, _, err := open(t, root).Read(t.Context(), "a/b")
	if err != nil || string(data) != "x" {
		t.Errorf("read %q, %v", data, err)
	}
}

func TestNothingIsLeftInTmp(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	for range 3 { // the second and third find the object there
		d.Create(t.Context(), "a", []byte("x"), driver.Durable) //nolint:errcheck
		d.Replace(t.Context(), "a", []byte("y"), "wrong")       //nolint:errcheck
	}
	entries, err := os.ReadDir(filepath.Join(root, "tmp"))
	if err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestStaleTemporaryFilesAreSwept(t *testing.T) {
	root := t.TempDir()
	open(t, root)
	old, fresh := filepath.Join(root, "tmp", "object-old"), filepath.Join(root, "tmp", "object-fresh")
	for _, path := range []string{old, fresh} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	open(t, root)
	if _, err := os.Stat(old); err == nil {
		t.Error("the old one is still there")
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error("the fresh one may belong to a write that goes on")
	}
}

func TestUnwritableRootIsToldAtStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := filesystem.New(filepath.Join(file, "root"))
	if err == nil || !strings.Contains(err.Error(), "storage directory") {
		t.Errorf("error %v", err)
	}
}
