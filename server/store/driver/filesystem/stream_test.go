package filesystem

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/drivertest"
)

// The suite on a file system that cannot move a file without replacing another, as NFS.
func TestDriverWithoutRenameNoReplace(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) driver.Driver {
		d := open(t, testserver.MemoryDir(t))
		d.move = moveByLink
		return d
	})
}

// A process that dies in the middle of a commit leaves its stream either as it was or as the object: nothing that is
// written under the stream's id later changes an object. So it is with what an earlier version left, and with backups
// that are made of hard links.
func TestAStreamWithASecondNameIsNotWrittenTo(t *testing.T) {
	for name, state := range map[string][]byte{"from the beginning": nil, "from its checkpoint": []byte("4")} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			root := t.TempDir()
			d := open(t, root)
			s, err := d.Stream(ctx, "id", nil)
			if err == nil {
				_, err = io.WriteString(s, "the content")
			}
			if err == nil {
				_, err = s.Checkpoint(ctx)
			}
			object := filepath.Join(root, "objects/b")
			// The first half of a move; then the process is dead.
			if err := errors.Join(err, s.Close(), os.Link(filepath.Join(root, "streams/id"), object)); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"", "x", "a longer text than that"} {
				s, err := d.Stream(ctx, "id", state)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(s, text); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if got := read(d, "b"); got != "the content" {
					t.Fatalf("the object became %q", got)
				}
			}
			s, err = d.Stream(ctx, "id", state)
			if err == nil {
				_, err = io.WriteString(s, "!")
			}
			if err := errors.Join(err, s.Commit(ctx, "c"), s.Close()); err != nil {
				t.Fatal(err)
			}
			if got, want := read(d, "c"), "the content"[:len(state)*4]+"!"; got != want {
				t.Errorf("what came after is %q, not %q", got, want)
			}
			if got := read(d, "b"); got != "the content" {
				t.Errorf("the object became %q", got)
			}
			wantNoneIn(t, root, "streams", "tmp")
		})
	}
}

func wantNoneIn(t *testing.T, root string, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if left, err := os.ReadDir(filepath.Join(root, dir)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
}

// Whichever way a stream is moved: what has the key already stays, and the stream too.
func TestMoving(t *testing.T) {
	for name, move := range map[string]func(from, to string) error{"in one step": moveNew, "by a link": moveByLink} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from, to, third := filepath.Join(dir, "from"), filepath.Join(dir, "to"), filepath.Join(dir, "third")
			for path, text := range map[string]string{from: "new", to: "old"} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := move(from, to); !errors.Is(err, os.ErrExist) {
				t.Errorf("onto another file: %v", err)
			}
			if err := move(from, filepath.Join(dir, "none", "x")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("into no folder: %v", err)
			}
			if err := move(from, third); err != nil {
				t.Fatal(err)
			}
			if err := move(from, filepath.Join(dir, "fourth")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("what is not there: %v", err)
			}
			for path, want := range map[string]string{to: "old", third: "new"} {
				if got, err := os.ReadFile(path); err != nil || string(got) != want {
					t.Errorf("%s holds %q, %v", path, got, err)
				}
			}
		})
	}
}

// A link whose answer was lost is refused when it is repeated, and had succeeded.
func TestMoveByLinkGoesOnWhereItStopped(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := errors.Join(os.WriteFile(from, nil, 0o600), os.Link(from, to), moveByLink(from, to)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(from); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the first name is still there: %v", err)
	}
}

// Starting while other processes remove the folders that became empty.
func TestStartingWhileFoldersComeAndGo(t *testing.T) {
	root := testserver.MemoryDir(t)
	d := open(t, root)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(d.Create(t.Context(), "a/clock", nil, driver.Relaxed), d.Delete(t.Context(), "a/clock")); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 500 {
		open(t, root)
	}
	close(stop)
	group.Wait()
}
