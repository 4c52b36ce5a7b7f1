package filesystem_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
)

// Parts of the directory that lie on other file systems fail every push: that is said at the start, and by a later probe.
func TestPartsOnOtherFileSystems(t *testing.T) {
	for _, part := range []string{"objects", "objects/b", "streams", "tmp"} {
		t.Run(part, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, filepath.FromSlash(part))
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			var running driver.Driver
			if part != "objects/b" {
				running = open(t, root)
			}
			testserver.MountVolume(t, dir, 1)
			_, err := filesystem.New(root)
			if err == nil || !strings.Contains(err.Error(), "different file systems") || !strings.Contains(err.Error(), dir) {
				t.Errorf("at the start: %v", err)
			}
			if running == nil {
				return
			}
			prober, _ := driver.As[driver.Prober](running)
			if err := prober.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "different file systems") {
				t.Errorf("while it runs: %v", err)
			}
		})
	}
}

// A probe leaves nothing, and a full volume is one that can be served and collected.
func TestProbeOfAFullVolume(t *testing.T) {
	volume := testserver.SmallVolume(t, 4)
	volume.Fill()
	d := open(t, volume.Dir)
	prober, _ := driver.As[driver.Prober](d)
	if err := prober.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{"tmp", "streams", "objects"} {
		if left, err := os.ReadDir(filepath.Join(volume.Dir, dir)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
	volume.Release()
	if err := errors.Join(prober.Probe(t.Context()), d.Create(t.Context(), "x", []byte("x"), driver.Durable)); err != nil {
		t.Error(err)
	}
}
