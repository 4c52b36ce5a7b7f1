// Package maintenance is what the registry does with its storage beside answering requests: it collects garbage and purges abandoned uploads,
// at intervals or once.
package maintenance

import (
	"context"
	"log/slog"
	"time"

	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/store"
)

// Jobs are the jobs on one store.
type Jobs struct {
	Store   *store.Store
	Metrics *telemetry.Metrics
	Log     *slog.Logger
}

// CollectGarbage collects at every interval, on one of the processes that share the storage, until the context ends.
func (j Jobs) CollectGarbage(ctx context.Context, c config.GarbageCollection) {
	interval := time.Duration(c.Interval)
	// Often enough to notice that another process has stopped doing it.
	ticker := time.NewTicker(max(min(interval/4, 15*time.Minute), time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		due, err := j.Store.CollectionDue(ctx, interval)
		if due && err == nil {
			_, err = j.Collect(ctx, c, false)
		}
		if err != nil && ctx.Err() == nil {
			j.Log.Error("garbage collection failed; trying again later", "error", err)
		}
	}
}

// Collect collects garbage once, and logs what it did.
func (j Jobs) Collect(ctx context.Context, c config.GarbageCollection, dryRun bool) (store.Collected, error) {
	began := time.Now()
	done, err := j.Store.Collect(ctx, store.Collection{Grace: time.Duration(c.Grace), KeepUntagged: time.Duration(c.KeepUntagged), DryRun: dryRun})
	j.Metrics.Collection(telemetry.Removed{Manifests: done.Manifests, Links: done.Links, Blobs: done.Blobs, Bytes: done.Bytes}, err)
	if err != nil {
		return done, err
	}
	j.Log.Info("collected garbage", "seconds", time.Since(began).Seconds(), "repositories", done.Repositories, "manifests", done.Manifests, "links", done.Links,
		"blobs", done.Blobs, "bytes", done.Bytes, "marked", done.Marked, "kept", done.Kept, "dryrun", dryRun)
	return done, nil
}

// PurgeUploads forgets abandoned uploads, at once and then at every interval, until the context ends.
func (j Jobs) PurgeUploads(ctx context.Context, c config.UploadPurging) {
	ticker := time.NewTicker(time.Duration(c.Interval))
	defer ticker.Stop()
	for {
		n, err := j.Store.PurgeUploads(ctx, time.Duration(c.Age), c.DryRun)
		if err != nil && ctx.Err() == nil {
			j.Log.Error("cannot purge abandoned uploads; trying again later", "error", err)
		}
		if n > 0 {
			j.Log.Info("purged abandoned uploads", "uploads", n, "dryrun", c.DryRun)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
