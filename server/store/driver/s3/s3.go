// Package s3 is a driver that keeps objects in a bucket, of AWS or of any server that speaks its protocol with
// conditional writes.
//
//	<root>/<key>             the objects; creating is a PUT with If-None-Match, replacing one with If-Match
//	<root>/o/<id>/<nonce>    segments: what one step of a stream brought
//	<root>/v/<id>            the commit record of a stream: committed under a key, or discarded
//
// A stream that is committed directly goes to its key, as one PUT or as the parts of a multipart upload that is
// completed on the condition that nobody was faster. Any other stream is a list of segments, each written once under a
// name of its own, so that two writers cannot harm each other; committing it writes a small pointer that names them, and
// not a byte is copied. A segment that is smaller than minSegment is taken into the next one, so that many small chunks
// do not make many small objects.
//
// Whether a stream's segments may be removed is decided by one object that is only ever created: whoever commits writes
// what it will point to there, whoever discards writes that it did. So a writer that was stopped for an hour at any
// instruction finds out that it came too late, and a discard that finds a commit finishes it instead.
//
// A conditional write that was retried may be refused because its first attempt had succeeded. Every object therefore
// carries a nonce of its writer, and a refusal is looked into before it is believed.
package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"packregistry.dev/server/store/driver"
)

// Driver is a store in a bucket.
type Driver struct {
	client  *awss3.Client
	presign *awss3.PresignClient
	o       Options
	// prefix is empty or ends in "/".
	prefix string
	// conditionalDelete says that the endpoint deletes on a condition, and does so in one piece. Only AWS is believed:
	// other servers were seen to compare first and delete whatever is there after.
	conditionalDelete bool
	// alone holds the locks that stand in for conditional writes where the endpoint has none.
	alone *locks
}

var (
	_ driver.Driver     = (*Driver)(nil)
	_ driver.Redirector = (*Driver)(nil)
	_ driver.Purger     = (*Driver)(nil)
)

// Names of metadata.
const (
	// metaNonce says whose write an object is.
	metaNonce = "packregistry-nonce"
	// metaSize marks a pointer, and is the size of what it points to.
	metaSize = "packregistry-size"
)

// callTimeout bounds a call that carries little, its retries included.
const callTimeout = 2 * time.Minute

func newNonce() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(b[:])
}

func (d *Driver) key(key string) (*string, error) {
	if err := driver.CheckKey(key); err != nil {
		return nil, err
	}
	return aws.String(d.prefix + key), nil
}

// statusOf returns the HTTP status of an error that the server answered, or 0.
func statusOf(err error) int {
	var response interface{ HTTPStatusCode() int }
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// refused says that a condition of ours did not hold.
func refused(err error) bool { return statusOf(err) == http.StatusPreconditionFailed }

func absent(err error) bool {
	return statusOf(err) == http.StatusNotFound && codeOf(err) != "NoSuchBucket"
}

// translate maps the server's errors to the driver's.
func translate(key string, err error) error {
	switch {
	case err == nil:
		return nil
	case absent(err):
		return fmt.Errorf("%s: %w", key, driver.ErrNotExist)
	}
	return fmt.Errorf("%s: %w", key, err)
}

// Stat implements driver.Driver.
func (d *Driver) Stat(ctx context.Context, key string) (driver.Info, error) {
	out, err := d.head(ctx, key)
	if err != nil {
		return driver.Info{}, translate(key, err)
	}
	info := driver.Info{Size: aws.ToInt64(out.ContentLength), ModTime: aws.ToTime(out.LastModified)}
	if size, ok := out.Metadata[metaSize]; ok {
		if info.Size, err = strconv.ParseInt(size, 10, 64); err != nil {
			return driver.Info{}, fmt.Errorf("%s: damaged pointer: %w", key, err)
		}
	}
	return info, nil
}

func (d *Driver) head(ctx context.Context, key string) (*awss3.HeadObjectOutput, error) {
	full, err := d.key(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return d.client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &d.o.Bucket, Key: full})
}

// maxSmall bounds what Read takes into memory.
const maxSmall = 64 << 20

// Read implements driver.Driver. An object that is replaced while its answer breaks off is read anew.
func (d *Driver) Read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	for {
		data, version, err := d.read(ctx, key)
		if err == nil || !refused(err) || ctx.Err() != nil {
			return data, version, err
		}
	}
}

// largeReads has a place for each object that is more than largeRead bytes and is read as a whole, so that however many ask for such at
// once take little memory.
const largeRead = 64 << 10

var largeReads = make(chan struct{}, 8)

func (d *Driver) read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	o, err := d.open(ctx, key)
	if err != nil {
		return nil, "", err
	}
	defer o.drop()
	if o.info.Size > maxSmall {
		return nil, "", fmt.Errorf("%s: %d bytes are too many to read at once", key, o.info.Size)
	}
	if o.info.Size > largeRead {
		select {
		case largeReads <- struct{}{}:
			defer func() { <-largeReads }()
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
	}
	data := make([]byte, o.info.Size)
	if _, err := io.ReadFull(o, data); err != nil {
		return nil, "", fmt.Errorf("%s: %w", key, err)
	}
	return data, driver.Version(o.version), nil
}

// Create implements driver.Driver.
func (d *Driver) Create(ctx context.Context, key string, data []byte, _ driver.Durability) error {
	return d.create(ctx, key, bytes.NewReader(data), int64(len(data)), nil)
}

// create writes an object where there is none. metadata is added to the object's own.
func (d *Driver) create(ctx context.Context, key string, body io.ReadSeeker, size int64, metadata map[string]string) error {
	for {
		err := d.put(ctx, key, body, size, metadata, "")
		switch {
		case errors.Is(err, driver.ErrChanged):
			return fmt.Errorf("%s: %w", key, driver.ErrExist)
		case !errors.Is(err, driver.ErrNotExist):
			return err
		}
		// What was in the way went before it could be looked at.
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// Replace implements driver.Driver. The version is the object's ETag.
func (d *Driver) Replace(ctx context.Context, key string, data []byte, old driver.Version) error {
	return d.put(ctx, key, bytes.NewReader(data), int64(len(data)), nil, old)
}

// put writes an object if it has still that version, or, without one, if there is none. It returns ErrChanged where that
// is not so.
func (d *Driver) put(ctx context.Context, key string, body io.ReadSeeker, size int64, metadata map[string]string, old driver.Version) error {
	full, err := d.key(key)
	if err != nil {
		return err
	}
	if d.alone != nil {
		unlock := d.alone.lock(key)
		defer unlock()
		if err := d.compare(ctx, key, old); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, transferTimeout(size))
	defer cancel()
	nonce := newNonce()
	in := &awss3.PutObjectInput{Bucket: &d.o.Bucket, Key: full, Body: body, ContentLength: &size, Metadata: map[string]string{metaNonce: nonce}}
	for name, value := range metadata {
		in.Metadata[name] = value
	}
	switch {
	case d.alone != nil:
	case old == "":
		in.IfNoneMatch = aws.String("*")
	default:
		in.IfMatch = aws.String(string(old))
	}
	d.encryptPut(in)
	_, err = d.client.PutObject(ctx, in)
	if err == nil {
		return nil
	}
	if refused(err) {
		return d.refusal(ctx, key, nonce)
	}
	return translate(key, err)
}

// refusal looks into a condition that did not hold: where the object carries our nonce, the write that was refused was a
// repetition of one of ours that had succeeded.
func (d *Driver) refusal(ctx context.Context, key, nonce string) error {
	out, err := d.head(ctx, key)
	switch {
	case absent(err):
		return fmt.Errorf("%s: %w", key, driver.ErrNotExist)
	case err != nil:
		return translate(key, err)
	case out.Metadata[metaNonce] == nonce:
		return nil
	}
	return fmt.Errorf("%s: %w", key, driver.ErrChanged)
}

// compare stands in for a condition where the endpoint has none.
func (d *Driver) compare(ctx context.Context, key string, old driver.Version) error {
	out, err := d.head(ctx, key)
	switch {
	case absent(err) && old == "":
		return nil
	case err != nil:
		return translate(key, err)
	case old == "" || aws.ToString(out.ETag) != string(old):
		return fmt.Errorf("%s: %w", key, driver.ErrChanged)
	}
	return nil
}

// Redirects implements driver.Redirector.
func (d *Driver) Redirects() bool { return d.presign != nil }

// URL implements driver.Redirector.
func (d *Driver) URL(ctx context.Context, key string) (string, error) {
	if d.presign == nil {
		return "", nil
	}
	out, err := d.head(ctx, key)
	if err != nil {
		return "", translate(key, err)
	}
	if _, pointer := out.Metadata[metaSize]; pointer {
		o, err := d.open(ctx, key)
		if err != nil {
			return "", err
		}
		defer o.drop()
		if len(o.segments) != 1 {
			return "", nil
		}
		key = o.segments[0].Key
	}
	full, err := d.key(key)
	if err != nil {
		return "", err
	}
	request, err := d.presign.PresignGetObject(ctx, &awss3.GetObjectInput{Bucket: &d.o.Bucket, Key: full,
		// No browser shows it, whose origin ever this address is of.
		ResponseContentType: aws.String("application/octet-stream"), ResponseContentDisposition: aws.String("attachment")}, awss3.WithPresignExpires(redirectExpiry))
	if err != nil {
		return "", err
	}
	return request.URL, nil
}

// redirectExpiry is for how long a redirected client may begin to read.
const redirectExpiry = 20 * time.Minute

func (d *Driver) encryptPut(in *awss3.PutObjectInput) {
	in.StorageClass = types.StorageClass(d.o.StorageClass)
	if d.o.Encrypt {
		in.ServerSideEncryption, in.SSEKMSKeyId = d.encryption()
	}
}

func (d *Driver) encryption() (types.ServerSideEncryption, *string) {
	if d.o.KMSKeyID != "" {
		return types.ServerSideEncryptionAwsKms, &d.o.KMSKeyID
	}
	return types.ServerSideEncryptionAes256, nil
}

// transferTimeout bounds a call that carries size bytes, its retries included.
func transferTimeout(size int64) time.Duration {
	const slowest = 100 << 10 // bytes a second
	return callTimeout + time.Duration(size/slowest)*time.Second
}
