package server

import (
	"context"
	"io"
	"log/slog"

	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/maintenance"
	"packregistry.dev/server/internal/storage"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/distribution"
)

// This file is what the commands of maintenance do with a registry's storage, once and without serving it.

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
	return maintenance.Jobs{Store: content, Metrics: telemetry.NewMetrics(), Log: log}.Collect(ctx, c.Storage.Maintenance.GarbageCollection, dryRun)
}

// NewLogger returns the logger that the configuration asks for.
func NewLogger(w io.Writer, c config.Log) *slog.Logger { return telemetry.NewLogger(w, c) }

// Import takes over what a CNCF distribution registry stored: from a directory, or, where that is not named, from where the
// configuration's own storage is.
func Import(ctx context.Context, c *config.Config, directory string, log *slog.Logger) (distribution.Summary, error) {
	return storage.Import(ctx, c.Storage, directory, log)
}
