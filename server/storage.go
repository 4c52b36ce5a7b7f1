package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/distribution"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/store/driver/s3"
)

// openDriver opens the storage that the configuration names.
func openDriver(ctx context.Context, c config.Storage) (driver.Driver, error) {
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
func Import(ctx context.Context, c *config.Config, directory string, log *slog.Logger) (distribution.Summary, error) {
	d, err := openDriver(ctx, c.Storage)
	if err != nil {
		return distribution.Summary{}, err
	}
	var from distribution.Source
	switch {
	case directory != "":
		from, err = distribution.Directory(directory)
	case c.Storage.Filesystem != nil:
		from, err = distribution.Directory(c.Storage.Filesystem.RootDirectory)
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

// observed counts a driver's operations.
type observed struct {
	driver.Driver
	m *metrics
}

// Unwrap lets driver.As find what the driver can do besides.
func (o observed) Unwrap() driver.Driver { return o.Driver }

func (o observed) done(operation string, began time.Time, err error) {
	series := o.m.operation(operation)
	series.seconds.Observe(time.Since(began).Seconds())
	if err == nil {
		series.ok.Inc()
		return
	}
	result := "error"
	switch {
	case errors.Is(err, driver.ErrNotExist):
		result = "absent"
	case errors.Is(err, driver.ErrExist), errors.Is(err, driver.ErrChanged), errors.Is(err, driver.ErrBusy):
		result = "conflict"
	}
	o.m.storage.WithLabelValues(operation, result).Inc()
}

func (o observed) Stat(ctx context.Context, key string) (info driver.Info, err error) {
	defer func(began time.Time) { o.done("stat", began, err) }(time.Now())
	return o.Driver.Stat(ctx, key)
}

func (o observed) Open(ctx context.Context, key string) (object driver.Object, err error) {
	defer func(began time.Time) { o.done("open", began, err) }(time.Now())
	return o.Driver.Open(ctx, key)
}

func (o observed) Read(ctx context.Context, key string) (data []byte, v driver.Version, err error) {
	defer func(began time.Time) { o.done("read", began, err) }(time.Now())
	return o.Driver.Read(ctx, key)
}

func (o observed) Create(ctx context.Context, key string, data []byte, d driver.Durability) (err error) {
	defer func(began time.Time) { o.done("create", began, err) }(time.Now())
	return o.Driver.Create(ctx, key, data, d)
}

func (o observed) Replace(ctx context.Context, key string, data []byte, old driver.Version) (err error) {
	defer func(began time.Time) { o.done("replace", began, err) }(time.Now())
	return o.Driver.Replace(ctx, key, data, old)
}

func (o observed) Delete(ctx context.Context, key string) (err error) {
	defer func(began time.Time) { o.done("delete", began, err) }(time.Now())
	return o.Driver.Delete(ctx, key)
}

func (o observed) DeleteUnchanged(ctx context.Context, key string, old driver.Version) (err error) {
	defer func(began time.Time) { o.done("delete", began, err) }(time.Now())
	return o.Driver.DeleteUnchanged(ctx, key, old)
}

func (o observed) List(ctx context.Context, prefix, after string, limit int) (names []string, err error) {
	defer func(began time.Time) { o.done("list", began, err) }(time.Now())
	return o.Driver.List(ctx, prefix, after, limit)
}

func (o observed) Discard(ctx context.Context, id string) (err error) {
	defer func(began time.Time) { o.done("discard", began, err) }(time.Now())
	return o.Driver.Discard(ctx, id)
}

func (o observed) Stream(ctx context.Context, id string, state []byte) (driver.Stream, error) {
	s, err := o.Driver.Stream(ctx, id, state)
	if err != nil {
		o.done("stream", time.Now(), err)
		return nil, err
	}
	return observedStream{s, o}, nil
}

type observedStream struct {
	driver.Stream
	o observed
}

func (s observedStream) Checkpoint(ctx context.Context) (state []byte, err error) {
	defer func(began time.Time) { s.o.done("checkpoint", began, err) }(time.Now())
	return s.Stream.Checkpoint(ctx)
}

func (s observedStream) Commit(ctx context.Context, key string) (err error) {
	defer func(began time.Time) { s.o.done("commit", began, err) }(time.Now())
	return s.Stream.Commit(ctx, key)
}
