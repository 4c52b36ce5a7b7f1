package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"packregistry.dev/server/store/driver"
)

// This file removes what dead processes left in the bucket.

// listed is an object as a list shows it.
type listed struct {
	key      string
	size     int64
	modified time.Time
}

// below yields all objects whose keys begin with prefix, in order: one call for each thousand.
func (d *Driver) below(ctx context.Context, prefix string) iter.Seq2[listed, error] {
	full := d.prefix + prefix
	return func(yield func(listed, error) bool) {
		pages := awss3.NewListObjectsV2Paginator(d.client, &awss3.ListObjectsV2Input{Bucket: &d.o.Bucket, Prefix: &full})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(listed{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			for _, o := range page.Contents {
				if !yield(listed{strings.TrimPrefix(*o.Key, d.prefix), aws.ToInt64(o.Size), aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// Purge implements driver.Purger: it aborts multipart uploads that a process left behind when it died, and removes
// segments that nothing refers to and records on streams that are long over.
func (d *Driver) Purge(ctx context.Context, since, before time.Time, dryRun bool) (int, error) {
	// Each by itself: who may not abort uploads, say, may remove objects all the same.
	count, incomplete := d.purgeMultipart(ctx, before, dryRun)
	var failures driver.Failures
	n, err := d.purgeStreams(ctx, since, before, dryRun, &failures)
	err = cmp.Or(err, failures.Err())
	switch {
	case incomplete == nil || err != nil && !errors.Is(err, driver.ErrPartly):
		return count + n, err
	case err != nil:
		return count + n, fmt.Errorf("%w\n%w", incomplete, err)
	}
	return count + n, fmt.Errorf("%w; %w", incomplete, driver.ErrPartly)
}

func (d *Driver) purgeMultipart(ctx context.Context, before time.Time, dryRun bool) (count int, err error) {
	var failures driver.Failures
	pages := awss3.NewListMultipartUploadsPaginator(d.client, &awss3.ListMultipartUploadsInput{Bucket: &d.o.Bucket, Prefix: &d.prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return count, fmt.Errorf("list incomplete uploads: %w", err)
		}
		for _, u := range page.Uploads {
			if !aws.ToTime(u.Initiated).Before(before) {
				continue
			}
			if dryRun {
				count++
				continue
			}
			err := d.abort(ctx, aws.ToString(u.Key), u.UploadId)
			if err == nil {
				count++
			} else {
				err = fmt.Errorf("abort an incomplete upload: %w", err)
			}
			if !failures.Note(ctx, err) {
				return count, failures.Err()
			}
		}
	}
	return count, failures.Err()
}

// leftover is what the bucket holds of one stream.
type leftover struct {
	segments int
	// newest is when the last segment was written, and recorded when the record was, which is missing where that is zero.
	newest, recorded time.Time
	discarded        bool
}

// remainder is what is to be done about a leftover.
type remainder int

const (
	keepStream remainder = iota
	// discardStream removes what no object needs, and finishes a commit that was interrupted.
	discardStream
	// forgetStream removes the record: the upload's steps went before it, so that nobody can ask for it.
	forgetStream
)

// due decides on a stream. Whatever is older than before belongs to an upload that began earlier still, and is over. A committed
// stream is looked at once when it is that old, as the end of its process may have left more than its object needs: since is
// how far an earlier purge came.
func (l leftover) due(since, before time.Time) remainder {
	old := l.recorded.Before(before)
	switch {
	case l.recorded.IsZero(): // nobody decided yet
		if l.segments > 0 && l.newest.Before(before) {
			return discardStream
		}
	case l.discarded && l.segments > 0: // a request that was stopped wrote them later
		return discardStream
	case l.segments == 0:
		if old {
			return forgetStream
		}
	case l.discarded:
	case l.newest.After(l.recorded.Add(time.Second)): // times in lists are whole seconds
		return discardStream
	case old && l.recorded.After(since):
		return discardStream
	}
	return keepStream
}

// part is a segment or a record of a stream.
type part struct {
	listed
	id string
}

// streamGrammar is what the store calls streams; names of others' files are passed over.
var streamGrammar = regexp.MustCompile(`^[0-9A-Za-z_-]+$`)

// streams yields what lies below prefix with the stream that it belongs to.
func (d *Driver) streams(ctx context.Context, prefix string) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		for o, err := range d.below(ctx, prefix) {
			id, _, _ := strings.Cut(strings.TrimPrefix(o.key, prefix), "/")
			if err == nil && !streamGrammar.MatchString(id) {
				continue
			}
			if !yield(part{o, id}, err) {
				return
			}
		}
	}
}

// purgeStreams compares the segments and the records of all streams, which are listed side by side.
func (d *Driver) purgeStreams(ctx context.Context, since, before time.Time, dryRun bool, failures *driver.Failures) (count int, err error) {
	nextSegment, stopSegments := iter.Pull2(d.streams(ctx, "o/"))
	defer stopSegments()
	nextRecord, stopRecords := iter.Pull2(d.streams(ctx, commitRecordKey("")))
	defer stopRecords()
	segment, segmentErr, moreSegments := nextSegment()
	record, recordErr, moreRecords := nextRecord()
	for moreSegments || moreRecords {
		if err := cmp.Or(segmentErr, recordErr); err != nil {
			return count, err
		}
		id := segment.id
		if !moreSegments || moreRecords && record.id < id {
			id = record.id
		}
		var l leftover
		for moreSegments && segmentErr == nil && segment.id == id {
			l.segments++
			if segment.modified.After(l.newest) {
				l.newest = segment.modified
			}
			segment, segmentErr, moreSegments = nextSegment()
		}
		if moreRecords && recordErr == nil && record.id == id {
			l.recorded, l.discarded = record.modified, record.size == int64(len(discarded))
			record, recordErr, moreRecords = nextRecord()
		}
		n, err := d.purgeStream(ctx, id, l, since, before, dryRun)
		if err != nil {
			err = fmt.Errorf("stream %s: %w", id, err)
		}
		if !failures.Note(ctx, err) {
			return count, failures.Err()
		}
		count += n
	}
	return count, nil
}

// purgeStream returns 1 where something was removed that nobody else accounts for.
func (d *Driver) purgeStream(ctx context.Context, id string, l leftover, since, before time.Time, dryRun bool) (int, error) {
	lost := l.recorded.IsZero() || l.discarded
	switch l.due(since, before) {
	case discardStream:
		if dryRun {
			break
		}
		if err := d.Discard(ctx, id); err != nil {
			return 0, err
		}
	case forgetStream:
		if dryRun {
			return 0, nil
		}
		found, err := d.segments(ctx, id)
		if err != nil || len(found) > 0 {
			return 0, err
		}
		return 0, d.Delete(ctx, commitRecordKey(id))
	default:
		return 0, nil
	}
	if lost {
		return 1, nil
	}
	return 0, nil
}
