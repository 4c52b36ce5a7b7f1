package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"packregistry.dev/internal/pemfile"
	"packregistry.dev/server/store/driver"
)

// Options say which bucket, and how to reach it.
type Options struct {
	Bucket string
	Region string
	// Endpoint is the URL of a server that is not AWS; empty for AWS.
	Endpoint string
	// PathStyle puts the bucket into the path instead of the host's name.
	PathStyle bool
	// AccessKey and SecretKey are the credential; without them the environment, shared files, a web identity or the
	// instance's role are asked, as every AWS program does.
	AccessKey, SecretKey string
	// CAFile holds more certificates to trust, in PEM.
	CAFile     string
	SkipVerify bool
	// Root is a prefix of all keys.
	Root string
	// Encrypt asks the server to encrypt, with its own key or with that of KMSKeyID.
	Encrypt  bool
	KMSKeyID string
	// StorageClass is one of the server's; empty for its default.
	StorageClass string
	// PartSize is the size of an upload's parts in bytes, and of the files they are gathered in; at least 5 MiB.
	PartSize int64
	// Redirect lets clients read blobs from the bucket themselves; RedirectEndpoint is the endpoint's name for them.
	Redirect         bool
	RedirectEndpoint string
	// SingleWriter says that no other process writes to the bucket, which is what it takes to use a server without
	// conditional writes.
	SingleWriter bool

	// ReadOnly says that nothing will be written, so that nothing is tried.
	ReadOnly bool

	// MaxBackoff is the longest pause between two attempts (20 s), and ResponseTimeout how long a server may take to
	// begin its answer (1 min).
	MaxBackoff, ResponseTimeout time.Duration
	// TempDir is where parts are gathered; empty for the system's.
	TempDir string
}

// Sizes of parts, in bytes.
const (
	minPart     = 5 << 20
	defaultPart = 10 << 20
)

// New opens the bucket. It finds out at once what would otherwise fail every push: a bucket that is not there,
// credentials that do not suffice, a server without conditional writes.
func New(ctx context.Context, o Options) (*Driver, error) {
	setDefaults(&o)
	if o.PartSize < minPart {
		return nil, fmt.Errorf("parts of %d bytes: at least %d", o.PartSize, minPart)
	}
	client, err := newClient(ctx, o, maxAttempts)
	if err != nil {
		return nil, err
	}
	d := &Driver{client: client, o: o}
	if root := strings.Trim(o.Root, "/"); root != "" {
		if err := driver.CheckKey(root); err != nil {
			return nil, fmt.Errorf("rootdirectory: %w; write each component once, with one slash between them. What an earlier version stored below this prefix "+
				"must be moved to the new one first, or the registry is empty", err)
		}
		d.prefix = root + "/"
	}
	if o.Redirect {
		d.presign = awss3.NewPresignClient(client, func(p *awss3.PresignOptions) {
			if o.RedirectEndpoint != "" {
				p.ClientOptions = append(p.ClientOptions, func(c *awss3.Options) { c.BaseEndpoint = &o.RedirectEndpoint })
			}
		})
	}
	if o.ReadOnly {
		return d, nil
	}
	f, err := d.tempFile()
	if err != nil {
		return nil, fmt.Errorf("uploads are gathered in temporary files: %w; set TMPDIR to a directory that can be written to", err)
	}
	f.Close()
	// Tried with less patience than what serves later.
	if d.client, err = newClient(ctx, o, firstAttempts); err != nil {
		return nil, err
	}
	err = d.probe(ctx)
	d.client = client
	return d, err
}

func setDefaults(o *Options) {
	if o.PartSize == 0 {
		o.PartSize = defaultPart
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 20 * time.Second
	}
	if o.ResponseTimeout == 0 {
		o.ResponseTimeout = time.Minute
	}
	if o.StorageClass == "NONE" {
		o.StorageClass = ""
	}
}

func newClient(ctx context.Context, o Options, attempts int) (*awss3.Client, error) {
	transport, err := newTransport(o)
	if err != nil {
		return nil, err
	}
	options := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return newRetryer(o.MaxBackoff, attempts) }),
		config.WithAppID("packregistry"),
		config.WithLogger(logging.Nop{}), // what it would say comes back as an error too
	}
	if o.Region != "" {
		options = append(options, config.WithRegion(o.Region))
	}
	if o.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, "")))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, err
	}
	return awss3.NewFromConfig(c, func(c *awss3.Options) {
		c.HTTPClient = &http.Client{Transport: transport}
		c.UsePathStyle = o.PathStyle
		c.DisableLogOutputChecksumValidationSkipped = true
		if o.Endpoint != "" {
			c.BaseEndpoint = &o.Endpoint
			// What AWS checks by default breaks other servers (aws-sdk-go-v2#3007).
			c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	}), nil
}

func newTransport(o Options) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: o.ResponseTimeout,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   128,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.SkipVerify}, //nolint:gosec // asked for by name
	}
	if o.CAFile == "" {
		return t, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if err := pemfile.AddFile(pool, o.CAFile); err != nil {
		return nil, fmt.Errorf("cafile: %w", err)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// maxAttempts with pauses that double from 100 ms make about a minute: a server that asks to slow down is waited out.
// firstAttempts make some seconds: who has just configured an endpoint wants to know that it does not answer.
const (
	maxAttempts   = 10
	firstAttempts = 7
)

func newRetryer(maxBackoff time.Duration, attempts int) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.MaxBackoff = maxBackoff
		// The library's bucket of tokens would give up early exactly when a server is overloaded.
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			pause := min(100*time.Millisecond<<min(attempt, 20), maxBackoff)
			return pause/2 + rand.N(pause/2+1), nil //nolint:gosec // spreads load
		})
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{
			// Another conditional write to that key was going on.
			"ConditionalRequestConflict": {}, "OperationAborted": {},
		}}, retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			// An answer that broke off. Every call of this driver can be made again.
			return aws.BoolTernary(errors.Is(err, io.ErrUnexpectedEOF))
		}))
	})
}

// errUnconditional says what a server without conditional writes means.
var errUnconditional = errors.New("the endpoint has no conditional writes (If-None-Match, If-Match), without which two " +
	"processes could lose each other's writes; if this is the only process that writes to the bucket, set " +
	"storage.s3.singlewriter: true")

// probeKey is written once and refused ever after.
const probeKey = "probe"

// probe tries conditional writes.
func (d *Driver) probe(ctx context.Context) error {
	create := func() error {
		return d.Create(ctx, probeKey, []byte("conditional writes are tried on this\n"), driver.Durable)
	}
	err := create()
	if err == nil {
		err = create() // now it is there
	}
	switch {
	case err == nil, statusOf(err) == http.StatusNotImplemented:
		err = errUnconditional
	case errors.Is(err, driver.ErrExist):
		err = d.Replace(ctx, probeKey, nil, `"00000000000000000000000000000000"`)
		if err == nil || statusOf(err) == http.StatusNotImplemented {
			err = errUnconditional
		}
		if errors.Is(err, driver.ErrChanged) && d.o.Endpoint == "" {
			return d.probeDelete(ctx)
		}
		if errors.Is(err, driver.ErrChanged) {
			return nil // see conditionalDelete
		}
	}
	if errors.Is(err, errUnconditional) && d.o.SingleWriter {
		d.alone, d.conditionalDelete = &locks{held: map[string]chan struct{}{}}, true
		return nil
	}
	return fmt.Errorf("bucket %s%s: %w", d.o.Bucket, at(d.o.Endpoint), err)
}

// probeDelete tries whether the endpoint honours a condition on a deletion: on an object of its own, since it may not.
func (d *Driver) probeDelete(ctx context.Context) error {
	key := probeKey + "-" + newNonce()
	if err := d.Create(ctx, key, nil, driver.Durable); err != nil {
		return err
	}
	err := d.delete(ctx, key, aws.String(`"00000000000000000000000000000000"`))
	d.conditionalDelete = refused(err)
	return d.Delete(ctx, key)
}

func at(endpoint string) string {
	if endpoint == "" {
		return ""
	}
	return " at " + endpoint
}

// locks keep two goroutines of this process from one key.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

func (l *locks) lock(key string) (unlock func()) {
	for {
		l.mu.Lock()
		wait, taken := l.held[key]
		if !taken {
			done := make(chan struct{})
			l.held[key] = done
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				close(done)
			}
		}
		l.mu.Unlock()
		<-wait
	}
}
