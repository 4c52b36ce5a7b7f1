package filesystem

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"packregistry.dev/internal/testserver"
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
		testserver.Missing(t, "open files are counted in /proc, which only Linux has: %v", err)
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

// What is deleted or replaced does not stay open, whoever does it: on NFS it would keep its room and a name.
func TestCacheLetsGoOfWhatIsGone(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		testserver.Missing(t, "open files are counted in /proc, which only Linux has: %v", err)
	}
	ctx := context.Background()
	root := t.TempDir()
	d, other := open(t, root), open(t, root)
	for _, by := range []*Driver{d, other} {
		for _, change := range []func(key string) error{
			func(key string) error { return by.Delete(ctx, key) },
			func(key string) error { return by.DeleteUnchanged(ctx, key, version([]byte("text"))) },
			func(key string) error {
				return errors.Join(by.Replace(ctx, key, []byte("new"), version([]byte("text"))), by.Delete(ctx, key))
			},
		} {
			if err := d.Create(ctx, "r/k", []byte("text"), driver.Durable); err != nil {
				t.Fatal(err)
			}
			if got := read(d, "r/k"); got != "text" || opened(t, root) != 1 {
				t.Fatalf("%q, and %d open files", got, opened(t, root))
			}
			if err := change("r/k"); err != nil {
				t.Fatal(err)
			}
			if by == other { // which is noticed when it is asked for, or when others are read
				if got := read(d, "r/k"); got != "absent" {
					t.Fatal(got)
				}
			}
			if n := opened(t, root); n != 0 {
				t.Errorf("%d files are open", n)
			}
		}
	}
	runtime.KeepAlive(d)
}

// Who reads at the same time as others read or replace an object leaves no file open that the cache does not have, and none of
// what was replaced.
func TestCacheOfConcurrentReaders(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		testserver.Missing(t, "open files are counted in /proc, which only Linux has: %v", err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it closes files that were lost
	ctx := context.Background()
	root := t.TempDir()
	d := open(t, root)
	if err := d.Create(ctx, "r/k", []byte("0"), driver.Relaxed); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "objects/r/k")
	for i := range 300 {
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if _, _, err := d.readFile(path, "r/k"); err != nil {
					t.Error(err)
				}
			})
		}
		if i%2 == 0 {
			if err := d.Replace(ctx, "r/k", []byte(fmt.Sprint(i+2)), version([]byte(fmt.Sprint(i)))); err != nil {
				t.Fatal(err)
			}
		}
		group.Wait()
		if entry, ok := d.cache.entries.Peek("r/k"); ok && !entry.current() {
			t.Fatalf("round %d: the file of what was replaced is open", i)
		}
	}
	if n := opened(t, root); n > 1 {
		t.Errorf("%d files of one object are open", n)
	}
	runtime.KeepAlive(d)
}

// Where the process has no file left to open, the cache gives its own back.
func TestCacheYieldsWhenFilesRunOut(t *testing.T) {
	ctx := t.Context()
	d := open(t, t.TempDir())
	fill := func() (release func()) {
		for i := range 2 * minCached {
			key := fmt.Sprint("r/k", i)
			d.Create(ctx, key, []byte("text"), driver.Relaxed) //nolint:errcheck // it may be there
			if got := read(d, key); got != "text" {
				t.Fatal(got)
			}
		}
		var taken []*os.File
		for {
			f, err := os.Open(os.DevNull)
			if err != nil {
				break
			}
			taken = append(taken, f)
		}
		return func() {
			for _, f := range taken {
				f.Close()
			}
		}
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = 256
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil { // other tests have theirs open
		for _, e := range entries {
			if n, err := strconv.ParseUint(e.Name(), 10, 64); err == nil {
				few.Cur = max(few.Cur, n+128)
			}
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was) //nolint:errcheck // it was so before
	for name, operation := range map[string]func() error{
		"create":  func() error { return d.Create(ctx, "r/new", nil, driver.Durable) },
		"replace": func() error { return d.Replace(ctx, "r/k0", []byte("text"), version([]byte("text"))) },
		"delete":  func() error { return d.Delete(ctx, "r/none") },
		"open": func() error {
			o, err := d.Open(ctx, "r/k1")
			if err == nil {
				err = o.Close()
			}
			return err
		},
		"list": func() error { _, err := d.List(ctx, "r/", "", 10); return err },
		"stream": func() error {
			s, err := d.Stream(ctx, "id", nil)
			if err != nil {
				return err
			}
			return errors.Join(s.Commit(ctx, "b/x"), s.Discard(ctx), s.Close())
		},
		"probe": func() error { return d.Probe(ctx) },
	} {
		d.cache = newCache()
		release := fill()
		if err := operation(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		release()
	}
	// The cache itself leaves most files to others from the start.
	for limit, want := range map[uint64]int{10: minCached, 400: 100, 1024: 256, 1 << 20: maxCached, 1<<64 - 1: maxCached} {
		if got := cacheSize(limit); got != want {
			t.Errorf("%d of %d files, not %d", got, limit, want)
		}
	}
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
