package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/store/driver/s3"
)

// jumping is a storage whose clock is wrong.
type jumping struct {
	driver.Driver
	ahead *atomic.Int64
	// written is how wrong the clock was when an object was written.
	written *sync.Map
}

func newJumping(ahead *atomic.Int64) jumping { return jumping{inmemory.New(), ahead, &sync.Map{}} }

func (j jumping) Unwrap() driver.Driver { return j.Driver }

func (j jumping) Create(ctx context.Context, key string, data []byte, d driver.Durability) error {
	err := j.Driver.Create(ctx, key, data, d)
	if err == nil {
		j.written.Store(key, j.ahead.Load())
	}
	return err
}

func (j jumping) Replace(ctx context.Context, key string, data []byte, old driver.Version) error {
	err := j.Driver.Replace(ctx, key, data, old)
	if err == nil {
		j.written.Store(key, j.ahead.Load())
	}
	return err
}

func (j jumping) Stat(ctx context.Context, key string) (driver.Info, error) {
	info, err := j.Driver.Stat(ctx, key)
	if ahead, ok := j.written.Load(key); ok {
		info.ModTime = info.ModTime.Add(time.Duration(ahead.(int64)))
	}
	return info, err
}

// The storage's clock is a year ahead for a while, or the process's: nothing that is referenced goes, no upload is lost
// for good, and garbage that was found in that time goes as soon as other garbage.
func TestClocksThatJump(t *testing.T) {
	const year = 365 * 24 * time.Hour
	ahead := &atomic.Int64{}
	s, err := Open(t.Context(), newJumping(ahead))
	must(t, err)
	ctx := t.Context()
	r := s.Repository("r")
	pushImage(t, r, "v1", "layer")
	layer := digest.FromString("layer")
	garbage, err := upload(ctx, r, "garbage")
	must(t, err)
	u, err := r.NewUpload(digest.SHA256)
	must(t, err)
	must(t, u.Append(ctx, strings.NewReader("begun")))

	ahead.Store(int64(year))
	week := Collection{Grace: 24 * time.Hour, KeepUntagged: 7 * 24 * time.Hour}
	for range 3 {
		if _, err := s.CollectionDue(ctx, time.Hour); err != nil {
			t.Fatal(err)
		}
		collect(t, s, week)
	}
	ahead.Store(0)
	if due, err := s.CollectionDue(ctx, time.Hour); !due || err != nil {
		t.Errorf("the next collection waits for the year to pass: %v, %v", due, err)
	}
	if got := readBlob(t, r, layer); got != "layer" {
		t.Errorf("%q", got)
	}
	if _, err := r.Tagged(ctx, "v1"); err != nil {
		t.Error(err)
	}
	if _, err := r.Upload(ctx, u.ID()); err != nil {
		t.Errorf("the upload that was begun: %v", err)
	}
	// What was marked in the future is marked again now, and goes after its grace.
	collect(t, s, week)
	ahead.Store(int64(25 * time.Hour))
	for range 3 {
		collect(t, s, week)
		ahead.Add(int64(25 * time.Hour))
	}
	if _, err := r.StatBlob(ctx, garbage); !errors.Is(err, ErrNotFound) {
		t.Errorf("garbage of the wrong time is still there: %v", err)
	}

	// A process whose own clock is wrong purges by the storage's.
	s.now = func() time.Time { return time.Now().Add(year) }
	ahead.Store(0)
	if n, err := s.PurgeUploads(ctx, time.Hour, false); n != 0 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	s.now = time.Now
	u, err = r.Upload(ctx, u.ID())
	must(t, err)
	must(t, u.Commit(ctx, strings.NewReader(" and finished"), digest.FromString("begun and finished")))
}

// A blob whose bytes were cut short is reported as damaged, not sent as if it were whole.
func TestShortBlobs(t *testing.T) {
	dir := t.TempDir()
	d, err := filesystem.New(dir)
	must(t, err)
	s, err := Open(t.Context(), d)
	must(t, err)
	r := s.Repository("r")
	blob, err := upload(t.Context(), r, "a blob that is whole")
	must(t, err)
	must(t, os.Truncate(filepath.Join(dir, "objects", filepath.FromSlash(dataKey(blob, 0))), 6))
	if o, err := r.Blob(t.Context(), blob); !errors.Is(err, ErrDamaged) {
		text, _ := io.ReadAll(o) //nolint:errcheck // only shown
		t.Errorf("%q, %v", text, err)
	}
}

// 100,000 repositories, and 100,000 tags in one: every one of them is listed, once and in order, whatever page it falls on.
func TestAHundredThousand(t *testing.T) {
	t.Run("inmemory", func(t *testing.T) {
		d := inmemory.New()
		testAHundredThousand(t, d, func(key string) { must(t, d.Create(t.Context(), key, []byte("{}"), driver.Relaxed)) }, 50_000, 10*page)
	})
	t.Run("filesystem", func(t *testing.T) {
		dir := t.TempDir()
		d, err := filesystem.New(dir)
		must(t, err)
		must(t, os.MkdirAll(filepath.Join(dir, "objects", catalogPrefix), 0o700))
		must(t, os.MkdirAll(filepath.Join(dir, "objects", tagPrefix("one")), 0o700))
		// What pushes leave, without what they pay for its being durable.
		put := func(key string) { must(t, os.WriteFile(filepath.Join(dir, "objects", key), nil, 0o600)) }
		testAHundredThousand(t, d, put, 50_000, 10*page)
	})
	t.Run("s3", func(t *testing.T) {
		server := testserver.StartS3(t)
		bucket := server.Bucket(t)
		d, err := s3.New(t.Context(), s3.Options{Bucket: bucket, Region: server.Region, Endpoint: server.Endpoint,
			PathStyle: true, AccessKey: server.AccessKey, SecretKey: server.SecretKey})
		must(t, err)
		// This server walks through its directories for every thousand names: two pages at each place will do.
		testAHundredThousand(t, d, func(key string) { server.Put(t, bucket, key, nil) }, 50_000, 2*page)
	})
}

const count, page = 100_000, 997

func repositoryNumber(i int) string { return fmt.Sprintf("team-%03d/app.%05d", i/1000, i) }
func tagNumber(i int) string        { return fmt.Sprintf("v%06d", i) }

// testAHundredThousand reads so many names at the beginning, from the middle and at the end.
func testAHundredThousand(t *testing.T, d driver.Driver, put func(key string), middle, names int) {
	s, err := Open(t.Context(), d)
	must(t, err)
	ctx := t.Context()
	pushImage(t, s.Repository("one"), "", "layer")
	for i := range count {
		put(catalogKey(repositoryNumber(i)))
		put(tagKey("one", tagNumber(i)))
	}
	for what, list := range map[string]struct {
		name func(int) string
		page func(after string) ([]string, error)
	}{
		"repositories": {repositoryNumber, func(after string) ([]string, error) { return s.Repositories(ctx, "team-", after, page) }},
		"tags":         {tagNumber, func(after string) ([]string, error) { return s.Repository("one").Tags(ctx, after, page) }},
	} {
		for _, begin := range []int{0, middle, max(count-names, 0)} {
			after, n := "", begin
			if begin > 0 {
				after = list.name(begin - 1)
			}
			for n < min(begin+names, count) {
				found, err := list.page(after)
				must(t, err)
				if len(found) != min(page, count-n) {
					t.Fatalf("%s from %d: %d names", what, n, len(found))
				}
				for i, name := range found {
					if name != list.name(n+i) {
						t.Fatalf("%s: number %d is %s, not %s", what, n+i, name, list.name(n+i))
					}
				}
				n, after = n+len(found), found[len(found)-1]
			}
			if left, err := list.page(list.name(count - 1)); err != nil || len(left) > 0 {
				t.Errorf("%s after the last: %v, %v", what, left, err)
			}
		}
	}
	if of, err := s.Repositories(ctx, "team-050/", "", page); err != nil || len(of) != page || of[0] != repositoryNumber(50_000) {
		t.Errorf("of one team: %d, %v", len(of), err)
	}
}
