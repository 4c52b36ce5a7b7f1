package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// A registry that is being rolled, or moved to another node, is away for a moment. What fails meanwhile is tried again
// four times, within four seconds, which is also how long a wrong port keeps somebody waiting.
const (
	tries     = 4
	firstWait = 250 * time.Millisecond
	longest   = 2 * time.Second
)

var backoff = retry.ExponentialBackoff(firstWait, 2, 0.1)

// resender sends requests again that failed for a reason which may have passed. All requests of this package may be
// repeated: content is named by its digest, and a tag that has the content already stays as it is.
type resender struct{ next http.RoundTripper }

func newResender(next http.RoundTripper, onRetry func(reason string, wait time.Duration)) *resender {
	policy := &reportingPolicy{&retry.GenericPolicy{
		Retryable: mayPass, Backoff: backoff, MinWait: firstWait / 2, MaxWait: longest, MaxRetry: tries,
	}, onRetry}
	return &resender{&retry.Transport{Base: next, Policy: func() retry.Policy { return policy }}}
}

// reportingPolicy reports what it decides to try again.
type reportingPolicy struct {
	retry.Policy
	onRetry func(reason string, wait time.Duration)
}

// Retry implements retry.Policy.
func (p *reportingPolicy) Retry(attempt int, response *http.Response, err error) (time.Duration, error) {
	wait, decision := p.Policy.Retry(attempt, response, err)
	if wait >= 0 && decision == nil && p.onRetry != nil {
		reason := ""
		if err != nil {
			reason = err.Error()
		} else {
			reason = response.Request.URL.Host + " answered " + response.Status
		}
		p.onRetry(reason, wait)
	}
	return wait, decision
}

// RoundTrip implements http.RoundTripper.
func (s *resender) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context()) // its body is replaced when it is sent again
	if u, ok := r.Body.(*upload); ok {
		r.GetBody = func() (io.ReadCloser, error) { return u.again(), nil }
	}
	if r.Method == http.MethodPatch {
		r.GetBody = nil // a registry that has a part of a chunk would refuse it: chunkedUpload asks where to go on
	}
	return s.next.RoundTrip(r)
}

// mayPass says whether a request that went so may go better a moment later. The error is what the caller gets if not.
func mayPass(response *http.Response, err error) (bool, error) {
	if err != nil {
		if passing(err) {
			return true, nil
		}
		return false, err
	}
	switch response.StatusCode {
	case http.StatusTooManyRequests:
		// A longer wait is not for a program to sit through.
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) //nolint:errcheck // a date, or nothing: soon
		return time.Duration(seconds)*time.Second <= longest, nil
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, nil
	}
	return false, nil
}

// passing are the errors of a connection that was cut, or that nobody took. Where net/http notices the other end's close while a body is
// being sent it closes the connection itself, so that the write fails with net.ErrClosed.
func passing(err error) bool {
	for _, e := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// upload is the body of a push, which can be sent from its beginning again. The one before may still be read then.
type upload struct {
	*io.SectionReader
	report func(sent, total int64)
}

func newUpload(f io.ReaderAt, d ocispec.Descriptor, report func(sent, total int64)) *upload {
	return &upload{io.NewSectionReader(f, 0, d.Size), report}
}

func (u *upload) again() *upload {
	f, _, size := u.Outer()
	return &upload{io.NewSectionReader(f, 0, size), u.report}
}

// Close implements io.Closer. The file stays open: it is its owner's.
func (u *upload) Close() error { return nil }

// Read implements io.Reader.
func (u *upload) Read(b []byte) (int, error) {
	n, err := u.SectionReader.Read(b)
	if u.report != nil && n > 0 {
		sent, seekErr := u.Seek(0, io.SeekCurrent)
		if seekErr == nil {
			u.report(sent, u.Size())
		}
	}
	return n, err
}

// download copies a blob into a file and verifies it. Where the connection is cut it goes on from there, if the server
// lets it.
func download(ctx context.Context, to io.Writer, d ocispec.Descriptor, from io.Reader) error {
	if err := d.Digest.Validate(); err != nil {
		return err
	}
	verifier := d.Digest.Verifier()
	to = io.MultiWriter(to, verifier)
	at := int64(0)
	for attempt := 0; ; attempt++ {
		n, err := io.Copy(to, io.LimitReader(from, d.Size-at))
		if at += n; at == d.Size {
			break
		}
		if n > 0 {
			attempt = 0
		}
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		again, ok := from.(io.Seeker)
		if !ok || !passing(err) || attempt == tries {
			return fmt.Errorf("after %d of %d bytes: %w", at, d.Size, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff(attempt, nil)):
		}
		// A seek to where it is already would not ask the server again.
		for _, offset := range []int64{d.Size, at} {
			if _, err := again.Seek(offset, io.SeekStart); err != nil {
				return fmt.Errorf("after %d of %d bytes: %w", at, d.Size, err)
			}
		}
	}
	if !verifier.Verified() {
		return errors.New("what came has another digest")
	}
	return nil
}
