package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/store/driver/s3"
)

// stepDrivers are drivers of each kind, and how many calls each was asked for since the last time.
func stepDrivers(t *testing.T) map[string]func(t *testing.T) (driver.Driver, func() int) {
	server := testserver.StartS3(t)
	counted := func(d driver.Driver) (driver.Driver, func() int) {
		c := &counting{Driver: d}
		return c, func() int { n := c.calls; c.calls = 0; return n }
	}
	return map[string]func(t *testing.T) (driver.Driver, func() int){
		"in memory": func(*testing.T) (driver.Driver, func() int) { return counted(inmemory.New()) },
		"file system": func(t *testing.T) (driver.Driver, func() int) {
			d, err := filesystem.New(t.TempDir())
			must(t, err)
			return counted(d)
		},
		"S3": func(t *testing.T) (driver.Driver, func() int) {
			proxy := testserver.StartProxy(t, server.Endpoint)
			d, err := s3.New(t.Context(), s3.Options{Bucket: server.Bucket(t), Region: server.Region, Endpoint: proxy.Endpoint, PathStyle: true,
				AccessKey: server.AccessKey, SecretKey: server.SecretKey, PartSize: 5 << 20, MaxBackoff: 50 * time.Millisecond})
			must(t, err)
			proxy.Inject(func(*http.Request) testserver.Fault { return testserver.None })
			return d, func() int { n := len(proxy.Calls()); proxy.Reset(); return n }
		},
	}
}

// counting counts the calls of a driver that steps of uploads make.
type counting struct {
	driver.Driver
	calls int
}

func (c *counting) Unwrap() driver.Driver { return c.Driver }

func (c *counting) Read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	c.calls++
	return c.Driver.Read(ctx, key)
}

func (c *counting) Create(ctx context.Context, key string, data []byte, d driver.Durability) error {
	c.calls++
	return c.Driver.Create(ctx, key, data, d)
}

func (c *counting) Delete(ctx context.Context, key string) error {
	c.calls++
	return c.Driver.Delete(ctx, key)
}

func (c *counting) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	c.calls++
	return c.Driver.List(ctx, prefix, after, limit)
}

// Whoever sends an upload byte by byte pays the same for each, and leaves no more than who sends it in a few steps.
func TestStepsCostTheSame(t *testing.T) {
	const steps = 60
	for name, open := range stepDrivers(t) {
		t.Run(name, func(t *testing.T) {
			d, calls := open(t)
			s, err := Create(t.Context(), d)
			must(t, err)
			r, ctx := s.Repository("r"), t.Context()
			u, err := r.NewUpload(digest.SHA256)
			must(t, err)
			content := strings.Repeat("x", steps)
			var cost []int
			size := 0
			for i := range steps {
				calls()
				u, err = r.Upload(ctx, u.ID())
				must(t, err)
				must(t, u.Append(ctx, strings.NewReader(content[i:i+1])))
				cost = append(cost, calls())
				data, _, err := d.Read(ctx, uploadKey(u.ID(), i+1))
				must(t, err)
				if i == 5 {
					size = len(data)
				}
				if i > 5 && len(data) > size+10 {
					t.Fatalf("step %d takes %d bytes, and an early one %d", i+1, len(data), size)
				}
			}
			if late, early := cost[steps-1], cost[5]; late > early || early > 12 {
				t.Errorf("a step makes %d calls, and an early one %d: %v", late, early, cost)
			}
			for _, prefix := range []string{uploadPrefix(u.ID()), "o/" + u.ID() + "/"} {
				if names, err := d.List(ctx, prefix, "", 100); err != nil || len(names) > 3 {
					t.Errorf("%d objects lie at %s, %v", len(names), prefix, err)
				}
			}
			calls()
			must(t, u.Commit(ctx, strings.NewReader(""), digest.FromString(content)))
			if n := calls(); n > 20 {
				t.Errorf("the end makes %d calls", n)
			}
			if got, err := r.ReadBlob(ctx, digest.FromString(content), 1000); err != nil || string(got) != content {
				t.Errorf("%q, %v", got, err)
			}
			if names, err := d.List(ctx, uploadPrefix(u.ID()), "", 100); err != nil || fmt.Sprint(names) != "["+stepName(1)+" over]" {
				t.Errorf("of the upload there is %q, %v", names, err)
			}
		})
	}
}

// A request that was stopped while others made several steps is refused: what it brought is in none of them.
func TestAStepThatComesLate(t *testing.T) {
	for name, open := range stepDrivers(t) {
		for _, begun := range []int{0, 1, 2, 3} {
			t.Run(fmt.Sprintf("%s after %d", name, begun), func(t *testing.T) {
				d, _ := open(t)
				s, err := Create(t.Context(), d)
				must(t, err)
				r, ctx := s.Repository("r"), t.Context()
				u, err := r.NewUpload(digest.SHA256)
				must(t, err)
				content := ""
				step := func() {
					t.Helper()
					next, err := r.Upload(ctx, u.ID())
					must(t, err)
					chunk := "x"
					if content == "" {
						chunk = strings.Repeat("x", 5<<20) // which S3 takes into no other
					}
					content += chunk
					must(t, next.Append(ctx, strings.NewReader(chunk)))
				}
				for range begun {
					step()
				}
				late, err := r.Upload(ctx, u.ID())
				must(t, err)
				for range 5 {
					step()
				}
				if err := late.Append(ctx, strings.NewReader("late")); !errors.Is(err, ErrOutOfOrder) {
					t.Errorf("a step that came late: %v", err)
				}
				end, err := r.Upload(ctx, u.ID())
				must(t, err)
				must(t, end.Commit(ctx, strings.NewReader(""), digest.FromString(content)))
				if err := late.Append(ctx, strings.NewReader("late")); !errors.Is(err, ErrOutOfOrder) && !errors.Is(err, ErrNotFound) {
					t.Errorf("a step after the end: %v", err)
				}
			})
		}
	}
}

// An upload that came in more requests than any honest one is refused the next, and may be ended.
func TestTooManySteps(t *testing.T) {
	d := inmemory.New()
	s, err := Create(t.Context(), d)
	must(t, err)
	r, ctx := s.Repository("r"), t.Context()
	u, err := r.NewUpload(digest.SHA256)
	must(t, err)
	must(t, u.Append(ctx, strings.NewReader("some")))
	data, _, err := d.Read(ctx, uploadKey(u.ID(), 1))
	must(t, err)
	must(t, d.Create(ctx, uploadKey(u.ID(), maxSteps), data, driver.Relaxed))
	u, err = r.Upload(ctx, u.ID())
	must(t, err)
	if err := u.Append(ctx, strings.NewReader("more")); !errors.Is(err, ErrTooManySteps) {
		t.Errorf("one step too many: %v", err)
	}
	must(t, u.Commit(ctx, strings.NewReader("more"), digest.FromString("somemore")))
}
