package server

import (
	"context"
	"log/slog"
	"time"

	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
)

// This file holds what the registry does with its storage beside answering requests, on its own or asked by the commands of maintenance.

// collectGarbage collects at every interval, on one of the processes that share the storage.
func (s *Server) collectGarbage(ctx context.Context, c config.GarbageCollection) {
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
		due, err := s.store.CollectionDue(ctx, interval)
		if due && err == nil {
			_, err = collect(ctx, s.store, c, false, s.metrics, s.log)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("garbage collection failed; trying again later", "error", err)
		}
	}
}

// OpenStore opens the store of a configuration without serving it.
func OpenStore(ctx context.Context, c *config.Config) (*store.Store, error) {
	d, err := openDriver(ctx, c.Storage)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, d)
}

// CollectOnce opens the configuration's storage and collects its garbage.
func CollectOnce(ctx context.Context, c *config.Config, dryRun bool, log *slog.Logger) (store.Collected, error) {
	content, err := OpenStore(ctx, c)
	if err != nil {
		return store.Collected{}, err
	}
	return collect(ctx, content, c.Storage.Maintenance.GarbageCollection, dryRun, newMetrics(), log)
}

// collect collects garbage once, and tells the log what it did.
func collect(ctx context.Context, content *store.Store, c config.GarbageCollection, dryRun bool, m *metrics, log *slog.Logger) (store.Collected, error) {
	began := time.Now()
	done, err := content.Collect(ctx, store.Collection{Grace: time.Duration(c.Grace), KeepUntagged: time.Duration(c.KeepUntagged), DryRun: dryRun})
	m.collection(done, err)
	if err != nil {
		return done, err
	}
	log.Info("collected garbage", "seconds", time.Since(began).Seconds(), "repositories", done.Repositories, "manifests", done.Manifests, "links", done.Links,
		"blobs", done.Blobs, "bytes", done.Bytes, "condemned", done.Condemned, "kept", done.Kept, "dryrun", dryRun)
	return done, nil
}

// purgeUploads forgets abandoned uploads, at once and then at every interval.
func (s *Server) purgeUploads(ctx context.Context, c config.UploadPurging) {
	ticker := time.NewTicker(time.Duration(c.Interval))
	defer ticker.Stop()
	for {
		n, err := s.store.PurgeUploads(ctx, time.Duration(c.Age), c.DryRun)
		if err != nil && ctx.Err() == nil {
			s.log.Error("cannot purge abandoned uploads; trying again later", "error", err)
		}
		if n > 0 {
			s.log.Info("purged abandoned uploads", "uploads", n, "dryrun", c.DryRun)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
