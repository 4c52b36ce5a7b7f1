package store

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// hooked is a driver that runs something right before or after one of its calls, as if another process were at work there.
type hooked struct {
	driver.Driver
	mu     sync.Mutex
	before map[string]func() error
	after  map[string]func() error
}

func (h *hooked) Unwrap() driver.Driver { return h.Driver }

// hook runs what is set for an operation ("create", "replace", "remove", "read", "stat", "list") on a key that ends so; once.
func (h *hooked) hook(hooks map[string]func() error, operation, key string) error {
	h.mu.Lock()
	var found func() error
	for at, f := range hooks {
		op, suffix, _ := strings.Cut(at, " ")
		if op == operation && strings.HasSuffix(key, suffix) {
			found = f
			delete(hooks, at)
			break
		}
	}
	h.mu.Unlock()
	if found == nil {
		return nil
	}
	return found()
}

func (h *hooked) call(operation, key string, call func() error) error {
	if err := h.hook(h.before, operation, key); err != nil {
		return err
	}
	err := call()
	if failed := h.hook(h.after, operation, key); failed != nil {
		return failed
	}
	return err
}

func (h *hooked) Read(ctx context.Context, key string) (data []byte, v driver.Version, err error) {
	err = h.call("read", key, func() (err error) {
		data, v, err = h.Driver.Read(ctx, key)
		return err
	})
	return data, v, err
}

func (h *hooked) Stat(ctx context.Context, key string) (info driver.Info, err error) {
	err = h.call("stat", key, func() (err error) {
		info, err = h.Driver.Stat(ctx, key)
		return err
	})
	return info, err
}

func (h *hooked) List(ctx context.Context, prefix, after string, limit int) (names []string, err error) {
	err = h.call("list", prefix, func() (err error) {
		names, err = h.Driver.List(ctx, prefix, after, limit)
		return err
	})
	return names, err
}

func (h *hooked) Create(ctx context.Context, key string, data []byte, d driver.Durability) error {
	return h.call("create", key, func() error { return h.Driver.Create(ctx, key, data, d) })
}

func (h *hooked) Replace(ctx context.Context, key string, data []byte, old driver.Version) error {
	return h.call("replace", key, func() error { return h.Driver.Replace(ctx, key, data, old) })
}

func (h *hooked) Delete(ctx context.Context, key string) error {
	return h.call("remove", key, func() error { return h.Driver.Delete(ctx, key) })
}

func (h *hooked) DeleteUnchanged(ctx context.Context, key string, old driver.Version) error {
	return h.call("remove", key, func() error { return h.Driver.DeleteUnchanged(ctx, key, old) })
}

// forEachPromise runs a test on storage that can delete on a condition and on one that cannot. The store s is seen by the
// operation that is interrupted, and others work on the same storage directly.
func forEachPromise(t *testing.T, test func(t *testing.T, h *hooked, s, others *Store)) {
	for name, d := range map[string]driver.Driver{"conditional deletes": inmemory.New(), "tombstones": tombstones{inmemory.New()}} {
		t.Run(name, func(t *testing.T) {
			h := &hooked{Driver: d, before: map[string]func() error{}, after: map[string]func() error{}}
			s, err := Open(t.Context(), h)
			must(t, err)
			others, err := Open(t.Context(), d)
			must(t, err)
			test(t, h, s, others)
		})
	}
}

// named is what a manifest names, as far as it must be there.
type named struct{ blobs, manifests []digest.Digest }

func newNode(m *Manifest) named {
	var n named
	for _, ref := range m.references() {
		if ref.Kind == ToManifest {
			n.manifests = append(n.manifests, ref.Digest)
		} else {
			n.blobs = append(n.blobs, ref.Digest)
		}
	}
	return n
}
