package filesystem_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
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

func TestAFullVolume(t *testing.T) {
	volume := testserver.SmallVolume(t, 12)
	drivertest.RunFull(t, open(t, volume.Dir), volume.Fill, volume.Release)
}

// asNobody runs a test once more in a process of a user who may not do everything.
func asNobody(t *testing.T, root string) (done bool) {
	t.Helper()
	if os.Getuid() != 0 {
		return false
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(filepath.Dir(root), "test")
	if out, err := exec.Command("cp", self, program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const nobody = 65534
	for dir := root; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := filepath.WalkDir(root, func(path string, _ os.DirEntry, _ error) error { return os.Chown(path, nobody, nobody) }); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PERMISSION_TEST_ROOT="+root)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v: %s", err, out)
	}
	return true
}

// What may not be read or written is reported as that: not as absent, which would make a caller write over it, and it stays.
func TestPermissions(t *testing.T) {
	root := os.Getenv("PERMISSION_TEST_ROOT")
	if root == "" {
		root = filepath.Join(t.TempDir(), "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		if asNobody(t, root) {
			return
		}
	}
	d := open(t, root)
	ctx := t.Context()
	for _, key := range []string{"sealed/object", "file/object"} {
		if err := d.Create(ctx, key, []byte("kept"), driver.Durable); err != nil {
			t.Fatal(err)
		}
	}
	_, version, err := d.Read(ctx, "file/object")
	if err != nil {
		t.Fatal(err)
	}
	sealed, file := filepath.Join(root, "objects", "sealed"), filepath.Join(root, "objects", "file", "object")
	seal := func(dir, object os.FileMode) {
		t.Helper()
		if err := errors.Join(os.Chmod(file, object), os.Chmod(sealed, dir)); err != nil {
			t.Fatal(err)
		}
	}
	seal(0, 0)
	defer seal(0o700, 0o600)
	fresh := open(t, root) // remembers nothing
	operations := map[string]func() error{
		"read in a sealed folder":   func() error { _, _, err := fresh.Read(ctx, "sealed/object"); return err },
		"stat in a sealed folder":   func() error { _, err := fresh.Stat(ctx, "sealed/object"); return err },
		"open in a sealed folder":   func() error { _, err := fresh.Open(ctx, "sealed/object"); return err },
		"list a sealed folder":      func() error { _, err := fresh.List(ctx, "sealed/", "", 10); return err },
		"create in a sealed folder": func() error { return fresh.Create(ctx, "sealed/new", nil, driver.Durable) },
		"delete in a sealed folder": func() error { return fresh.Delete(ctx, "sealed/object") },
		"read a sealed file":        func() error { _, _, err := fresh.Read(ctx, "file/object"); return err },
		"open a sealed file":        func() error { _, err := fresh.Open(ctx, "file/object"); return err },
		"replace a sealed file":     func() error { return fresh.Replace(ctx, "file/object", []byte("x"), version) },
		"delete it if unchanged":    func() error { return fresh.DeleteUnchanged(ctx, "file/object", version) },
		"commit to a sealed folder": func() error {
			s, err := fresh.Stream(ctx, "id", nil)
			if err != nil {
				return err
			}
			return errors.Join(s.Commit(ctx, "sealed/streamed"), s.Discard(ctx), s.Close())
		},
	}
	for name, operation := range operations {
		if err := operation(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
	seal(0o700, 0o600)
	for _, key := range []string{"sealed/object", "file/object"} {
		if data, _, err := fresh.Read(ctx, key); err != nil || string(data) != "kept" {
			t.Errorf("%s: %q, %v", key, data, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(root, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
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
