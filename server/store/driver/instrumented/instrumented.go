// Package instrumented wraps a driver so that each of its operations is reported with its result and how long it took.
package instrumented

import (
	"context"
	"errors"
	"time"

	"packregistry.dev/server/store/driver"
)

// Record is called after each operation. result is ok, absent (there is no such object), conflict (it is there already, has
// changed or is in use) or error.
type Record func(operation, result string, took time.Duration)

// New returns d with its operations recorded. What else d can do is still found by driver.As.
func New(d driver.Driver, record Record) driver.Driver {
	o := observed{d, record}
	if lister, ok := driver.As[driver.VersionLister](d); ok {
		return observedLister{o, lister}
	}
	return o
}

// observedLister is observed of a driver whose lists have versions.
type observedLister struct {
	observed
	lister driver.VersionLister
}

func (o observedLister) ListVersions(ctx context.Context, prefix, after string, limit int) (entries []driver.Entry, err error) {
	defer func(began time.Time) { o.done("list", began, err) }(time.Now())
	return o.lister.ListVersions(ctx, prefix, after, limit)
}

type observed struct {
	driver.Driver
	record Record
}

// Unwrap lets driver.As find what the driver can do besides.
func (o observed) Unwrap() driver.Driver { return o.Driver }

func (o observed) done(operation string, began time.Time, err error) {
	result := "ok"
	switch {
	case err == nil:
	case errors.Is(err, driver.ErrNotExist):
		result = "absent"
	case errors.Is(err, driver.ErrExist), errors.Is(err, driver.ErrChanged), errors.Is(err, driver.ErrBusy):
		result = "conflict"
	default:
		result = "error"
	}
	o.record(operation, result, time.Since(began))
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
