package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"packregistry.dev/server/store/driver"
)

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, key string) error { return d.delete(ctx, key, nil) }

// DeleteUnchanged implements driver.Driver.
func (d *Driver) DeleteUnchanged(ctx context.Context, key string, old driver.Version) error {
	if !d.conditionalDelete {
		return fmt.Errorf("%s: deleting on a condition: %w", key, errors.ErrUnsupported)
	}
	if d.alone != nil {
		unlock := d.alone.lock(key)
		defer unlock()
		if err := d.compare(ctx, key, old); err != nil && !errors.Is(err, driver.ErrNotExist) {
			return err
		}
		return d.delete(ctx, key, nil)
	}
	err := d.delete(ctx, key, aws.String(string(old)))
	if refused(err) {
		return fmt.Errorf("%s: %w", key, driver.ErrChanged)
	}
	return err
}

func (d *Driver) delete(ctx context.Context, key string, version *string) error {
	full, err := d.key(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = d.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &d.o.Bucket, Key: full, IfMatch: version})
	if absent(err) {
		return nil
	}
	return translate(key, err)
}

// Reclaim implements driver.Reclaimer: it removes an object and, where that is a pointer, its segments. The record of the
// commit says from then on that the stream was discarded, until it is purged: whoever goes on with the upload finds out.
func (d *Driver) Reclaim(ctx context.Context, key string) error {
	o, err := d.open(ctx, key)
	if errors.Is(err, driver.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	segments := o.segments
	o.drop()
	ours := map[string]bool{}
	// The pointer goes last: as long as it is there, what a crash left is found by it.
	for _, s := range segments {
		id, isSegment := segmentOf(s.Key)
		if !isSegment {
			continue // the object is its own only segment
		}
		if _, asked := ours[id]; !asked {
			if ours[id], err = d.revoke(ctx, id, key); err != nil {
				return err
			}
		}
		if !ours[id] {
			continue
		}
		if err := d.Delete(ctx, s.Key); err != nil {
			return err
		}
	}
	return d.Delete(ctx, key)
}

// revoke makes the record on a stream say that it was discarded. It returns false where the stream was committed under
// another key than the one given: its segments are not to be removed.
func (d *Driver) revoke(ctx context.Context, id, key string) (bool, error) {
	for {
		held, err := d.decide(ctx, id, commitRecord{})
		if err != nil || held.Key == "" {
			return err == nil, err
		}
		if held.Key != key {
			return false, nil
		}
		_, version, err := d.Read(ctx, commitRecordKey(id))
		if err == nil {
			err = d.Replace(ctx, commitRecordKey(id), []byte(discarded), version) // which nobody changes, except to this
		}
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, driver.ErrChanged) && !errors.Is(err, driver.ErrNotExist) || ctx.Err() != nil {
			return false, err
		}
	}
}

// Incomplete implements driver.Reclaimer: it looks for the segments of a pointer.
func (d *Driver) Incomplete(ctx context.Context, key string) (missing string, err error) {
	out, err := d.head(ctx, key)
	if err != nil {
		return "", translate(key, err)
	}
	if _, pointer := out.Metadata[metaSize]; !pointer {
		return "", nil
	}
	o, err := d.open(ctx, key)
	if err != nil {
		return "", err
	}
	o.drop()
	return d.missing(ctx, o.segments)
}

// missing says which of the segments is not there as it was written, or "".
func (d *Driver) missing(ctx context.Context, segments []segment) (string, error) {
	for _, s := range segments {
		info, err := d.Stat(ctx, s.Key)
		switch {
		case errors.Is(err, driver.ErrNotExist):
			return fmt.Sprintf("segment %s is missing", s.Key), nil
		case err != nil:
			return "", err
		case info.Size != s.Size:
			return fmt.Sprintf("segment %s has %d bytes, not %d", s.Key, info.Size, s.Size), nil
		}
	}
	return "", nil
}
