package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// A request to delete something gets no answer and arrives late, when the client has tried again with success, and the same
// was pushed since: that stays.
func TestDeletionsThatArriveLate(t *testing.T) {
	for what, remove := range map[string]func(ctx context.Context, r *Repository, m, layer digest.Digest) error{
		"of a manifest": func(ctx context.Context, r *Repository, m, _ digest.Digest) error { return r.DeleteManifest(ctx, m) },
		"of a tag":      func(ctx context.Context, r *Repository, _, _ digest.Digest) error { return r.DeleteTag(ctx, "v1") },
		"of a blob": func(ctx context.Context, r *Repository, _, layer digest.Digest) error {
			return r.DeleteBlob(ctx, layer)
		},
	} {
		t.Run(what, func(t *testing.T) {
			forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
				ctx := t.Context()
				layer := digest.FromString("layer")
				m := pushImage(t, others.Repository("r"), "v1", "layer")
				late := &lateDeletes{Driver: h.Driver}
				h.Driver = late
				if err := remove(ctx, s.Repository("r"), m, layer); err != nil && !errors.Is(err, errTimeout) {
					t.Fatal(err)
				}
				// The client tries again, and somebody pushes.
				if err := remove(ctx, others.Repository("r"), m, layer); err != nil && !errors.Is(err, ErrNotFound) {
					t.Fatal(err)
				}
				pushImage(t, others.Repository("r"), "v1", "layer")
				for _, arrives := range late.requests {
					arrives() //nolint:errcheck // nobody hears of it
				}
				checkTags(t, others, "r", "v1")
				if got := readBlob(t, others.Repository("r"), layer); got != "layer" {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

var errTimeout = errors.New("no answer in time")

// lateDeletes is a storage whose answers to deletions do not come in time, while the requests are on their way still.
type lateDeletes struct {
	driver.Driver
	requests []func() error
}

func (l *lateDeletes) Delete(ctx context.Context, key string) error {
	l.requests = append(l.requests, func() error { return l.Driver.Delete(ctx, key) })
	return errTimeout
}

func (l *lateDeletes) DeleteUnchanged(ctx context.Context, key string, old driver.Version) error {
	if _, ok := l.Driver.(tombstones); ok {
		return l.Driver.DeleteUnchanged(ctx, key, old)
	}
	l.requests = append(l.requests, func() error { return l.Driver.DeleteUnchanged(ctx, key, old) })
	return errTimeout
}

// Where deleted manifests leave tombstones, whether there is a manifest is soon found out.
func TestManifestsAmongTombstones(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, _ *Store) {
		r := s.Repository("r")
		const count = 200
		var manifests []digest.Digest
		for i := range count {
			manifests = append(manifests, pushImage(t, r, "", fmt.Sprint(i)))
		}
		reads := &countingReads{Driver: h.Driver}
		h.Driver = reads
		for _, m := range manifests[1:] {
			must(t, r.DeleteManifest(t.Context(), m))
		}
		if reads.n > 20*count {
			t.Errorf("%d reads for %d deletions", reads.n, count)
		}
		if exists, err := r.Exists(t.Context()); !exists || err != nil {
			t.Errorf("%v, %v", exists, err)
		}
		must(t, r.DeleteManifest(t.Context(), manifests[0]))
		if exists, err := r.Exists(t.Context()); exists || err != nil {
			t.Errorf("without manifests: %v, %v", exists, err)
		}
	})
}

type countingReads struct {
	driver.Driver
	n int
}

func (c *countingReads) Read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	c.n++
	return c.Driver.Read(ctx, key)
}
