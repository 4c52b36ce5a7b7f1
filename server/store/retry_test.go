package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// refusing is a driver that refuses every write on a condition, as if another were always faster.
type refusing struct{ driver.Driver }

func (refusing) Replace(context.Context, string, []byte, driver.Version) error {
	return driver.ErrChanged
}

func (refusing) DeleteUnchanged(context.Context, string, driver.Version) error {
	return driver.ErrChanged
}

// Whatever loses to others is tried again with growing delays, ends with an error that says to come again, and ends at once
// when its client is gone.
func TestLostWritesAreTriedAgainWithPatience(t *testing.T) {
	d := inmemory.New()
	s, err := Open(t.Context(), d)
	must(t, err)
	r := s.Repository("r")
	m := pushImage(t, r, "tag", "layer")
	other := pushImage(t, r, "", "other")
	layer, unlinked := digest.FromString("layer"), digest.FromString("other")
	must(t, r.DeleteBlob(t.Context(), unlinked))
	collect(t, s, Collection{}) // marks what is not tagged
	must(t, s.WritePrivate(t.Context(), "account", nil))
	s.d = refusing{d}
	for what, do := range map[string]func(ctx context.Context) error{
		"Tag":            func(ctx context.Context) error { return r.Tag(ctx, "tag", other, "", true) },
		"DeleteTag":      func(ctx context.Context) error { return r.DeleteTag(ctx, "tag") },
		"DeleteManifest": func(ctx context.Context) error { return r.DeleteManifest(ctx, m) },
		"DeleteBlob":     func(ctx context.Context) error { return r.DeleteBlob(ctx, layer) },
		"PutManifest":    func(ctx context.Context) error { return r.PutManifest(ctx, PutManifest{Digest: other}) },
		"RecordPack":     func(ctx context.Context) error { return r.RecordPack(ctx, m, "1.0", nil) },
		"WritePrivate":   func(ctx context.Context) error { return s.WritePrivate(ctx, "account", []byte("x")) },
		"UpdatePrivate": func(ctx context.Context) error {
			_, err := s.UpdatePrivate(ctx, "account", func([]byte) ([]byte, error) { return []byte("x"), nil })
			return err
		},
		"upload of a blob": func(ctx context.Context) error { _, err := upload(ctx, r, "other"); return err },
		"PutBlob":          func(ctx context.Context) error { _, err := r.PutBlob(ctx, []byte("other")); return err },
	} {
		t.Run(what, func(t *testing.T) {
			var delays []time.Duration
			s.sleep = func(ctx context.Context, d time.Duration) error {
				delays = append(delays, d)
				return ctx.Err()
			}
			wantErr(t, do(t.Context()), ErrTryAgain)
			if n := len(delays); n < 10 || n > maxAttempts || delays[n-1] < 10*delays[0] || delays[n-1] > maxDelay {
				t.Errorf("%d delays, at first %v", n, delays[:min(n, 10)])
			}
			ctx, giveUp := context.WithCancel(t.Context())
			n := 0
			s.sleep = func(ctx context.Context, d time.Duration) error {
				if n++; n == 3 {
					giveUp()
				}
				return sleep(ctx, d)
			}
			if err := do(ctx); !errors.Is(err, context.Canceled) || n > 3 {
				t.Errorf("after the client gave up: %d delays, %v", n, err)
			}
		})
	}
}
