package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"packregistry.dev/server/store/driver"
)

// upload writes one object whose size is not known. Up to a part's size is one PUT at the end; more becomes the parts of
// a multipart upload, each gathered in a file while the one before is on its way. Nothing is visible before finish.
type upload struct {
	d    *Driver
	key  string
	size int64

	// file gathers the next part, which has filled bytes so far.
	file   *os.File
	filled int64

	nonce string
	id    *string
	parts []types.CompletedPart
	// ctx ends what is under way; flight is the part that is.
	ctx    context.Context //nolint:containedctx // the upload outlives single calls
	cancel context.CancelFunc
	flight chan partResult
	done   bool
}

type partResult struct {
	part types.CompletedPart
	err  error
}

func (d *Driver) newUpload(key string) *upload {
	u := &upload{d: d, key: key, nonce: newNonce()}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	return u
}

// partSize grows with the object: ten thousand parts are the most that there can be.
func (u *upload) partSize() int64 {
	return u.d.o.PartSize * int64(1+len(u.parts)/1000)
}

func (u *upload) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		if u.file == nil {
			if u.file, err = u.d.tempFile(); err != nil {
				return written, err
			}
		}
		if u.filled == u.partSize() {
			if err := u.send(); err != nil {
				return written, err
			}
			continue
		}
		n, err := u.file.Write(p[:min(int64(len(p)), u.partSize()-u.filled)])
		u.filled += int64(n)
		u.size += int64(n)
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// send puts the part that is full on its way, once the one before has arrived.
func (u *upload) send() error {
	if u.id == nil {
		if err := u.create(); err != nil {
			return err
		}
	}
	if err := u.land(); err != nil {
		return err
	}
	file, size, number := u.file, u.filled, int32(len(u.parts)+1) //nolint:gosec // at most 10,000
	u.file, u.filled = nil, 0
	u.flight = make(chan partResult, 1)
	go func(flight chan<- partResult) {
		defer file.Close()
		ctx, cancel := context.WithTimeout(u.ctx, transferTimeout(size))
		defer cancel()
		out, err := u.d.client.UploadPart(ctx, &awss3.UploadPartInput{Bucket: &u.d.o.Bucket, Key: aws.String(u.d.prefix + u.key),
			UploadId: u.id, PartNumber: &number, Body: io.NewSectionReader(file, 0, size), ContentLength: &size})
		if err != nil {
			flight <- partResult{err: translate(u.key, err)}
			return
		}
		flight <- partResult{part: types.CompletedPart{PartNumber: &number, ETag: out.ETag,
			ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC64NVME: out.ChecksumCRC64NVME}}
	}(u.flight)
	return nil
}

// land waits for the part that is on its way.
func (u *upload) land() error {
	if u.flight == nil {
		return nil
	}
	result := <-u.flight
	u.flight = nil
	if result.err != nil {
		return result.err
	}
	u.parts = append(u.parts, result.part)
	return nil
}

func (u *upload) create() error {
	ctx, cancel := context.WithTimeout(u.ctx, callTimeout)
	defer cancel()
	in := &awss3.CreateMultipartUploadInput{Bucket: &u.d.o.Bucket, Key: aws.String(u.d.prefix + u.key),
		Metadata: map[string]string{metaNonce: u.nonce}, StorageClass: types.StorageClass(u.d.o.StorageClass)}
	if u.d.o.Encrypt {
		in.ServerSideEncryption, in.SSEKMSKeyId = u.d.encryption()
	}
	out, err := u.d.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return translate(u.key, err)
	}
	u.id = out.UploadId
	return nil
}

// finish makes the object visible, or returns ErrExist where there is one.
func (u *upload) finish(ctx context.Context) error {
	if u.id == nil {
		body := io.ReadSeeker(io.NewSectionReader(u.file, 0, u.filled))
		if u.file == nil {
			body = io.NewSectionReader(nil, 0, 0)
		}
		return u.d.create(ctx, u.key, body, u.filled, nil)
	}
	if u.filled > 0 {
		if err := u.send(); err != nil {
			return err
		}
	}
	if err := u.land(); err != nil {
		return err
	}
	err := u.complete(ctx)
	u.done = err == nil
	return err
}

// completeTimeout bounds the joining of parts, which servers do at very different speeds.
const completeTimeout = 10 * time.Minute

func (u *upload) complete(ctx context.Context) error {
	if u.d.alone != nil {
		unlock := u.d.alone.lock(u.key)
		defer unlock()
		if err := u.d.compare(ctx, u.key, ""); err != nil {
			return exists(u.key, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	in := &awss3.CompleteMultipartUploadInput{Bucket: &u.d.o.Bucket, Key: aws.String(u.d.prefix + u.key), UploadId: u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts}}
	if u.d.alone == nil {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := u.d.client.CompleteMultipartUpload(ctx, in)
	if err == nil {
		return nil
	}
	// An upload that is gone may be one that an earlier attempt completed.
	if refused(err) || statusOf(err) == http.StatusNotFound {
		if found := u.d.refusal(ctx, u.key, u.nonce); !errors.Is(found, driver.ErrNotExist) {
			return exists(u.key, found)
		}
	}
	return translate(u.key, err)
}

// exists says ErrExist for a condition that did not hold.
func exists(key string, err error) error {
	if errors.Is(err, driver.ErrChanged) {
		return fmt.Errorf("%s: %w", key, driver.ErrExist)
	}
	return err
}

// abandon ends what is under way and removes what is left of an upload that was not finished.
func (u *upload) abandon() {
	u.cancel()
	u.land() //nolint:errcheck // given up
	if u.file != nil {
		u.file.Close()
		u.file = nil
	}
	if u.id == nil || u.done {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	// What cannot be removed now is found by Purge.
	u.d.abort(ctx, u.d.prefix+u.key, u.id) //nolint:errcheck // see above
	u.id = nil
}

func (d *Driver) abort(ctx context.Context, key string, id *string) error {
	_, err := d.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &d.o.Bucket, Key: &key, UploadId: id})
	if absent(err) {
		return nil
	}
	return err
}
