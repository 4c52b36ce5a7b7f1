package filesystem

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An upload in many steps costs no sync for each: a step that comes back with the loss of power does no harm.
func TestStepsOfUploadsAreNotSynced(t *testing.T) {
	d, err := New(t.TempDir())
	must(t, err)
	syncs := 0
	d.sync = func(f *os.File) error { syncs++; return f.Sync() }
	s, err := store.Create(t.Context(), d)
	must(t, err)
	r := s.Repository("r")
	u, err := r.NewUpload(digest.SHA256)
	must(t, err)
	const steps = 20
	syncs = 0
	for range steps {
		must(t, u.Append(t.Context(), strings.NewReader("x")))
	}
	if syncs != 0 {
		t.Errorf("%d steps cost %d syncs", steps, syncs)
	}
	if names, err := d.List(t.Context(), "u/"+u.ID()+"/", "", 100); err != nil || len(names) != 3 {
		t.Errorf("of the steps there are %v, %v", names, err)
	}
	must(t, u.Commit(t.Context(), strings.NewReader(""), digest.FromString(strings.Repeat("x", steps))))
	if syncs == 0 {
		t.Error("the blob was not synced")
	}
	syncs = 0
	must(t, d.Create(t.Context(), "x/y", nil, driver.Relaxed))
	must(t, d.Delete(t.Context(), "x/y"))
	if syncs == 0 {
		t.Error("a deletion was not synced")
	}
}

// A disk that does not take the reserve keeps no deletion from being acknowledged, and the reserve does not count as filled.
func TestAReserveThatCannotBeSynced(t *testing.T) {
	d, err := New(t.TempDir())
	must(t, err)
	if info, err := os.Stat(d.path(reserveName)); err != nil || info.Size() == 0 {
		t.Fatalf("the reserve was not made: %v; the temporary folder may lack room", err)
	}
	must(t, d.Create(t.Context(), "x/y", nil, driver.Durable))
	must(t, os.Remove(d.path(reserveName)))
	d.reserve.short.Store(true)
	d.sync = func(f *os.File) error {
		if filepath.Base(f.Name()) == reserveName {
			return syscall.EIO
		}
		return f.Sync()
	}
	must(t, d.Delete(t.Context(), "x/y"))
	if _, err := d.Stat(t.Context(), "x/y"); !errors.Is(err, driver.ErrNotExist) {
		t.Errorf("what was deleted: %v", err)
	}
	if err := d.Probe(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Errorf("the health check says %v", err)
	}
	if err := d.Probe(t.Context()); !errors.Is(err, syscall.EIO) || !d.reserve.short.Load() {
		t.Errorf("the next one says %v", err)
	}
	d.sync = (*os.File).Sync
	must(t, d.Probe(t.Context()))
	if info, err := os.Stat(d.path(reserveName)); err != nil || info.Size() == 0 || d.reserve.short.Load() {
		t.Errorf("it is not filled: %v", err)
	}
}
