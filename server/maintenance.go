package server

import (
	"context"
	"io"
	"log/slog"
	"time"

	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/storage"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/distribution"
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
	d, err := storage.Open(ctx, c.Storage)
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
	return collect(ctx, content, c.Storage.Maintenance.GarbageCollection, dryRun, telemetry.NewMetrics(), log)
}

// collect collects garbage once, and logs what it did.
func collect(ctx context.Context, content *store.Store, c config.GarbageCollection, dryRun bool, m *telemetry.Metrics, log *slog.Logger) (store.Collected, error) {
	began := time.Now()
	done, err := content.Collect(ctx, store.Collection{Grace: time.Duration(c.Grace), KeepUntagged: time.Duration(c.KeepUntagged), DryRun: dryRun})
	m.Collection(telemetry.Removed{Manifests: done.Manifests, Links: done.Links, Blobs: done.Blobs, Bytes: done.Bytes}, err)
	if err != nil {
		return done, err
	}
	log.Info("collected garbage", "seconds", time.Since(began).Seconds(), "repositories", done.Repositories, "manifests", done.Manifests, "links", done.Links,
		"blobs", done.Blobs, "bytes", done.Bytes, "marked", done.Marked, "kept", done.Kept, "dryrun", dryRun)
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

// NewLogger returns the logger that the configuration asks for.
func NewLogger(w io.Writer, c config.Log) *slog.Logger { return telemetry.NewLogger(w, c) }

// Import takes over what a CNCF distribution registry stored: from a directory, or, where that is not named, from where the
// configuration's own storage is.
func Import(ctx context.Context, c *config.Config, directory string, log *slog.Logger) (distribution.Summary, error) {
	return storage.Import(ctx, c.Storage, directory, log)
}
