package testserver

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Volume is a small file system that can be filled.
type Volume struct {
	// Dir is where it is mounted.
	Dir string
	// Fill takes all of its room, and Release gives that back.
	Fill, Release func()
}

// SmallVolume mounts a volume of so many MiB for the time of the test.
func SmallVolume(t testing.TB, mebibytes int) Volume {
	t.Helper()
	dir := t.TempDir()
	MountVolume(t, dir, mebibytes)
	filler := filepath.Join(dir, "filler")
	return Volume{Dir: dir,
		Fill: func() {
			f, err := os.Create(filler)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for err == nil {
				_, err = f.Write(make([]byte, 64<<10))
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
		},
		Release: func() {
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		}}
}

// MemoryDir is t.TempDir on a file system in memory, where there is one: a test that syncs thousands of times and asks
// nothing of the disk takes a tenth of the time.
func MemoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "packregistry-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // as far as it goes
	return dir
}

// MountVolume mounts a volume of so many MiB at a folder for the time of the test.
func MountVolume(t testing.TB, dir string, mebibytes int) {
	t.Helper()
	if err := mount(dir, mebibytes); err != nil {
		Missing(t, "mounting a small volume needs root on Linux: %v", err)
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Error(err)
		}
	})
}
