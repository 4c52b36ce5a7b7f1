package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"packregistry.dev/server/store/driver"
)

// segment is bytes under a key: the whole of an object, or what one step of a stream brought.
type segment struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
	// etag keeps a download that is gone on with from mixing two objects.
	etag *string
}

// pointer is the content of an object that stands for segments.
type pointer struct {
	Segments []segment `json:"segments"`
}

func sizeOf(segments []segment) (n int64) {
	for _, s := range segments {
		n += s.Size
	}
	return n
}

// object reads segments one after another. The first answer is kept open from the start, so that reading an object from
// its beginning costs one call; a connection that is lost in the middle is made again from there.
type object struct {
	d        *Driver
	ctx      context.Context //nolint:containedctx // an open object lives within the request that opened it
	segments []segment
	info     driver.Info
	version  string

	offset int64
	body   *body
}

// body is one answer, being read.
type body struct {
	io.ReadCloser
	// at is the offset, in the object, of the next byte, and end the one where the answer ends.
	at, end int64
	cancel  context.CancelFunc
	stall   *time.Timer
}

func (b *body) Close() error {
	b.stall.Stop()
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}

// Open implements driver.Driver.
func (d *Driver) Open(ctx context.Context, key string) (driver.Object, error) {
	o, err := d.open(ctx, key)
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (d *Driver) open(ctx context.Context, key string) (*object, error) {
	if err := driver.CheckKey(key); err != nil {
		return nil, err
	}
	o := &object{d: d, ctx: ctx}
	out, b, err := o.get(segment{Key: key}, 0, 0)
	if err != nil {
		return nil, translate(key, err)
	}
	size := aws.ToInt64(out.ContentLength)
	b.end = size
	o.body, o.version = b, aws.ToString(out.ETag)
	o.segments = []segment{{Key: key, Size: size, etag: out.ETag}}
	if _, marked := out.Metadata[metaSize]; marked {
		if err := o.follow(key, size); err != nil {
			return nil, err
		}
	}
	o.info = driver.Info{Size: sizeOf(o.segments), ModTime: aws.ToTime(out.LastModified)}
	return o, nil
}

// follow reads the pointer that was found, and makes the object what it points to.
func (o *object) follow(key string, size int64) error {
	if size > maxSmall {
		o.drop()
		return fmt.Errorf("%s: damaged pointer: %d bytes", key, size)
	}
	text := make([]byte, size)
	_, err := io.ReadFull(o, text)
	o.drop()
	var p pointer
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return fmt.Errorf("%s: pointer: %w", key, err)
	}
	o.segments, o.offset = p.Segments, 0
	return nil
}

// get asks for a segment from an offset in it. start is where the segment begins in the object.
func (o *object) get(s segment, start, from int64) (*awss3.GetObjectOutput, *body, error) {
	ctx, cancel := context.WithCancel(o.ctx)
	stall := time.AfterFunc(o.d.o.ResponseTimeout, cancel)
	in := &awss3.GetObjectInput{Bucket: &o.d.o.Bucket, Key: aws.String(o.d.prefix + s.Key), IfMatch: s.etag}
	if from > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", from))
	}
	stall.Reset(callTimeout)
	out, err := o.d.client.GetObject(ctx, in)
	if err != nil {
		stall.Stop()
		cancel()
		return nil, nil, err
	}
	stall.Reset(o.d.o.ResponseTimeout)
	return out, &body{out.Body, start + from, start + s.Size, cancel, stall}, nil
}

// Info implements driver.Object.
func (o *object) Info() driver.Info { return o.info }

func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.offset
	case io.SeekEnd:
		offset += o.info.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	o.offset = offset
	return offset, nil
}

// maxResumptions bounds how often in a row a lost connection is made again without a byte to show for it.
const maxResumptions = 5

func (o *object) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	var failure error
	for failures := 0; failures <= maxResumptions; failures++ {
		if failures > 0 {
			select {
			case <-time.After(min(100*time.Millisecond<<failures, o.d.o.MaxBackoff)):
			case <-o.ctx.Done():
				return 0, o.ctx.Err()
			}
		}
		if err := o.position(); err != nil {
			return 0, err
		}
		o.body.stall.Reset(o.d.o.ResponseTimeout)
		n, err := o.body.Read(p[:min(int64(len(p)), o.body.end-o.body.at)])
		o.body.at += int64(n)
		o.offset += int64(n)
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		failure = err
		o.drop()
	}
	return 0, fmt.Errorf("the storage broke off at byte %d of %d: %w", o.offset, o.info.Size, failure)
}

// position makes the body one that goes on at the offset, or returns io.EOF at the end.
func (o *object) position() error {
	if o.body != nil && o.body.at == o.offset && o.body.at < o.body.end {
		return nil
	}
	o.drop()
	if err := o.ctx.Err(); err != nil {
		return err
	}
	start := int64(0)
	for _, s := range o.segments {
		if o.offset < start+s.Size {
			_, b, err := o.get(s, start, o.offset-start)
			if err != nil {
				return translate(s.Key, err)
			}
			o.body = b
			return nil
		}
		start += s.Size
	}
	return io.EOF
}

func (o *object) drop() {
	if o.body != nil {
		o.body.Close() //nolint:errcheck // nothing more is read from it
		o.body = nil
	}
}

func (o *object) Close() error {
	o.drop()
	return nil
}
