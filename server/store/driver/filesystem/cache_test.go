package filesystem

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"packregistry.dev/server/store/driver"
)

func open(t *testing.T, root string) *Driver {
	t.Helper()
	d, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(d *Driver, key string) string {
	data, _, err := d.Read(context.Background(), key)
	switch {
	case errors.Is(err, driver.ErrNotExist):
		return "absent"
	case err != nil:
		return err.Error()
	}
	return string(data)
}

// What one process changes another one sees at once, whatever it remembers.
func TestCacheIsNeverOutOfDate(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir()
	writer, reader := open(t, root), open(t, root)
	random := rand.New(rand.NewPCG(1, 2))
	const keys = 5
	now := map[string]string{}
	for i := range 3000 {
		key := fmt.Sprint("r/k", random.IntN(keys))
		text := fmt.Sprint("value ", i)
		switch was, there := now[key]; {
		case !there:
			if err := writer.Create(ctx, key, []byte(text), driver.Relaxed); err != nil {
				t.Fatal(err)
			}
			now[key] = text
		case random.IntN(2) == 0:
			if err := writer.Delete(ctx, key); err != nil {
				t.Fatal(err)
			}
			delete(now, key)
		default:
			if err := writer.Replace(ctx, key, []byte(text), version([]byte(was))); err != nil {
				t.Fatal(err)
			}
			now[key] = text
		}
		for n := range keys {
			key := fmt.Sprint("r/k", n)
			want, there := now[key]
			if !there {
				want = "absent"
			}
			if got := read(reader, key); got != want {
				t.Fatalf("step %d: %s is %q, not %q", i, key, got, want)
			}
		}
	}
}

// A backup made of hard links, or a write that died before it removed its temporary name, leaves a file alive whose
// object is deleted.
func TestCacheWithASecondLink(t *testing.T) {
	ctx := context.Background()
	for _, when := range []string{"before it is read", "after it was read"} {
		t.Run(when, func(t *testing.T) {
			root := t.TempDir()
			writer, reader := open(t, root), open(t, root)
			if err := writer.Create(ctx, "r/k", []byte("text"), driver.Durable); err != nil {
				t.Fatal(err)
			}
			backup := func() {
				if err := os.Link(filepath.Join(root, "objects/r/k"), filepath.Join(root, "backup")); err != nil {
					t.Fatal(err)
				}
			}
			if when == "before it is read" {
				backup()
			}
			for range 2 {
				if got := read(reader, "r/k"); got != "text" {
					t.Fatal(got)
				}
			}
			if when != "before it is read" {
				backup()
			}
			if err := writer.Delete(ctx, "r/k"); err != nil {
				t.Fatal(err)
			}
			if got := read(reader, "r/k"); got != "absent" {
				t.Fatalf("deleted, and still read as %q", got)
			}
		})
	}
}

// However many objects are read, only so many files stay open, and none of an object that is too large to remember.
func TestCacheIsBounded(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skipf("open files are counted in /proc, which only Linux has: %v", err)
	}
	ctx := context.Background()
	root := t.TempDir()
	d := open(t, root)
	for i := range 2 * maxCached {
		key := fmt.Sprint("r/k", i)
		if err := d.Create(ctx, key, []byte("text"), driver.Relaxed); err != nil {
			t.Fatal(err)
		}
		if got := read(d, key); got != "text" {
			t.Fatal(got)
		}
	}
	if err := d.Create(ctx, "r/large", []byte(strings.Repeat("x", maxCachedSize+1)), driver.Relaxed); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		read(d, "r/large")
	}
	if n := opened(t, root); n != maxCached {
		t.Errorf("%d files of the store are open, not %d", n, maxCached)
	}
	runtime.KeepAlive(d) // else its files could be closed while they are counted
}

// opened counts this process's open files below root.
func opened(t *testing.T, root string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(target, root) {
			n++
		}
	}
	return n
}
