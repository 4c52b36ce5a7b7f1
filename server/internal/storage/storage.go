// Package storage opens the storage that the configuration names, and takes over what another registry stored there.
package storage

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/distribution"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/store/driver/s3"
)

// Open opens the storage that the configuration names.
func Open(ctx context.Context, c config.Storage) (driver.Driver, error) {
	switch {
	case c.InMemory != nil:
		return inmemory.New(), nil
	case c.S3 != nil:
		o := s3Options(c.S3, c.Redirect)
		o.ReadOnly = c.Maintenance.ReadOnly.Enabled
		d, err := s3.New(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("storage.s3: %w", err)
		}
		return d, nil
	}
	open := filesystem.New
	if c.Maintenance.ReadOnly.Enabled {
		open = filesystem.NewReadOnly
	}
	d, err := open(c.Filesystem.RootDirectory)
	if err != nil {
		return nil, fmt.Errorf("storage.filesystem.rootdirectory: %w", err)
	}
	return d, nil
}

func s3Options(c *config.S3, r config.Redirect) s3.Options {
	region := c.Region
	if region == "" {
		region = "us-east-1" // servers that are not AWS rarely have any, and signatures need one
	}
	redirect := c.Endpoint() == "" || c.RedirectEndpoint != ""
	if r.Disable != nil {
		redirect = !*r.Disable
	}
	return s3.Options{Bucket: c.Bucket, Region: region, Endpoint: c.Endpoint(), PathStyle: c.PathStyle(), AccessKey: c.AccessKey, SecretKey: c.SecretKey,
		CAFile: c.CAFile, SkipVerify: c.SkipVerify, Root: c.RootDirectory, Encrypt: c.Encrypt, KMSKeyID: c.KeyID, StorageClass: c.StorageClass,
		PartSize: int64(c.ChunkSize), Redirect: redirect, RedirectEndpoint: c.RedirectEndpoint, SingleWriter: c.SingleWriter}
}

// Import takes over what a CNCF distribution registry stored: from a directory, or, where that is not named, from where the
// configuration's own storage is.
func Import(ctx context.Context, c config.Storage, directory string, log *slog.Logger) (distribution.Summary, error) {
	d, err := Open(ctx, c)
	if err != nil {
		return distribution.Summary{}, err
	}
	var from distribution.Source
	switch {
	case directory != "":
		from, err = distribution.Directory(directory)
	case c.Filesystem != nil:
		from, err = distribution.Directory(c.Filesystem.RootDirectory)
	default:
		from = d
	}
	if err != nil {
		return distribution.Summary{}, err
	}
	names, err := from.List(ctx, distribution.Root, "", 1)
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("there is no %s: nothing to import", strings.TrimSuffix(distribution.Root, "/"))
	}
	if err != nil {
		return distribution.Summary{}, err
	}
	content, err := store.Create(ctx, d)
	if err != nil {
		return distribution.Summary{}, err
	}
	return distribution.Import(ctx, from, content, func(name string) { log.Info("importing", "repository", name) })
}
