package s3

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
)

// A call whose answer never came is repeated, and its first attempt reaches the server when others have changed the object
// since: it changes nothing. (What deletions without a condition and creations can do then is in docs/store.md.)
func TestCallsThatArriveLate(t *testing.T) {
	s := testserver.StartS3(t)
	proxy := testserver.StartProxy(t, s.Endpoint)
	o := options(s, s.Bucket(t))
	o.Endpoint = proxy.Endpoint
	d := open(t, o)
	ctx := t.Context()
	const key = "r/x/t/tag"
	version := func() driver.Version {
		_, v, err := d.Read(ctx, key)
		must(t, err)
		return v
	}
	replace := func(text string) error { return d.Replace(ctx, key, []byte(text), version()) }
	stream := func(ctx context.Context, id, target string) error {
		opened, err := d.Stream(ctx, id, nil)
		if err != nil {
			return err
		}
		opened.CommitDirectly(target)
		_, err = opened.Write([]byte("streamed"))
		return errors.Join(err, opened.Commit(ctx, target), opened.Discard(ctx), opened.Close())
	}
	for name, tt := range map[string]struct {
		late   func() error
		method string
		// since is what others do before it arrives, and want what they leave.
		since func() error
		want  string
	}{
		"a replacement": {func() error { return replace("mine") }, http.MethodPut, func() error { return replace("theirs") }, "theirs"},
		"a replacement of what went": {func() error { return replace("mine") }, http.MethodPut,
			func() error {
				return errors.Join(d.Delete(ctx, key), d.Create(ctx, key, []byte("new"), driver.Durable))
			}, "new"},
		"a creation": {func() error {
			return errors.Join(d.Delete(ctx, key), d.Create(ctx, key, []byte("mine"), driver.Durable))
		}, http.MethodPut,
			func() error { return replace("theirs") }, "theirs"},
		"a commit": {func() error { return errors.Join(d.Delete(ctx, key), stream(ctx, "late", key)) }, http.MethodPut,
			func() error { return replace("theirs") }, "theirs"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, d.Delete(ctx, key))
			must(t, d.Create(ctx, key, []byte("first"), driver.Durable))
			var held atomic.Bool
			proxy.Inject(func(r *http.Request) testserver.Fault {
				if r.Method == tt.method && held.CompareAndSwap(false, true) {
					return testserver.Late
				}
				return testserver.None
			})
			must(t, tt.late())
			must(t, tt.since())
			if n := proxy.Deliver(); n != 1 {
				t.Fatalf("%d calls were late", n)
			}
			data, _, err := d.Read(ctx, key)
			must(t, err)
			if string(data) != tt.want {
				t.Errorf("%q, want %q", data, tt.want)
			}
		})
	}
	// A deletion on a condition, where the server has it.
	must(t, d.delete(ctx, key, nil))
	must(t, d.Create(ctx, key, []byte("first"), driver.Durable))
	proxy.Inject(func(r *http.Request) testserver.Fault {
		if r.Method == http.MethodDelete {
			return testserver.Late
		}
		return testserver.None
	})
	d.o.MaxBackoff = 1
	short, cancel := context.WithCancel(ctx)
	old := string(version())
	cancelled := make(chan error, 1)
	go func() { cancelled <- d.delete(short, key, &old) }()
	testserver.Eventually(t, "the deletion is on its way", callTimeout, func() bool { return proxy.Happened()[testserver.Late] > 4 })
	cancel()
	if err := <-cancelled; err == nil {
		t.Error("a deletion that nobody answered succeeded")
	}
	proxy.Inject(func(*http.Request) testserver.Fault { return testserver.None })
	must(t, replace("theirs"))
	if proxy.Deliver() == 0 {
		t.Error("nothing was late")
	}
	data, _, err := d.Read(ctx, key)
	must(t, err)
	if string(data) != "theirs" {
		t.Errorf("%q", data)
	}
}
