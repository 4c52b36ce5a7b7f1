package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// chunkSize is how much of a large blob is sent in a request, and so how much is sent again where one is cut. Storage that
// assembles parts wants 5 MiB or more.
const chunkSize = 8 << 20

// errNoChunks is given where a registry takes a blob whole only.
var errNoChunks = errors.New("the registry takes no chunks")

// chunkedUpload sends a blob in chunks. Where it was cut it goes on from what the registry has, in another process too.
type chunkedUpload struct {
	client  *Client
	repo    *remote.Repository
	blob    ocispec.Descriptor
	content io.ReaderAt
	report  func(sent, total int64)

	state    uploadState
	location *url.URL
	offset   int64
	// chunk is how much a request holds.
	chunk int64
}

// pushChunks is nil where the registry has all of the blob.
func (c *Client) pushChunks(ctx context.Context, repo *remote.Repository, d ocispec.Descriptor, content io.ReaderAt, report func(sent, total int64)) error {
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull, auth.ActionPush)
	u := &chunkedUpload{client: c, repo: repo, blob: d, content: content, report: report, chunk: chunkSize,
		state: newUploadState(c.server.UploadsDir, c.server.Host, repo.Reference.Repository, d.Digest)}
	if err := u.begin(ctx); err != nil {
		return err
	}
	// Progress is what goes beyond all that was sent before: a registry that forgets an upload again and again gets it only so often.
	furthest := u.offset
	for failures := 0; u.offset < d.Size; {
		at := u.offset
		err := u.send(ctx)
		if err == nil && u.offset > furthest {
			furthest, failures = u.offset, 0
		}
		if err == nil && u.offset > at {
			continue
		}
		if err == nil {
			err = fmt.Errorf("%s takes nothing more of an upload after %d bytes: %w", c.server.Host, at, io.ErrUnexpectedEOF)
		}
		again, restart := u.mayContinue(err)
		if ctx.Err() != nil || !again || failures == tries {
			if at == 0 && takesNoChunks(err) {
				u.state.forget()
				return errNoChunks
			}
			return err
		}
		failures++
		if err := u.wait(ctx, err, failures); err != nil {
			return err
		}
		if err := u.goOn(ctx, restart); err != nil {
			return err
		}
	}
	return u.finish(ctx)
}

// begin takes up the upload of an earlier process, or starts one.
func (u *chunkedUpload) begin(ctx context.Context) error {
	if location := u.state.claim(); location != nil && u.sameHost(location) {
		u.location = location
		if err := u.ask(ctx); err == nil && u.offset <= u.blob.Size {
			u.state.keep(u.location)
			return nil
		}
	}
	return u.start(ctx)
}

func (u *chunkedUpload) start(ctx context.Context) error {
	u.offset, u.location = 0, nil
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.client.url("/v2/"+u.repo.Reference.Repository+"/blobs/uploads/"), nil)
	if err != nil {
		return err
	}
	header, err := u.do(r, http.StatusAccepted)
	if err != nil {
		return err
	}
	if least, err := strconv.ParseInt(header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil {
		u.chunk = max(u.chunk, least)
	}
	u.state.keep(u.location)
	return nil
}

// ask asks how much the registry has.
func (u *chunkedUpload) ask(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.location.String(), nil)
	if err != nil {
		return err
	}
	header, err := u.do(r, http.StatusNoContent)
	if err == nil {
		u.offset = rangeEnd(header.Get("Range"))
	}
	return err
}

// goOn finds out where to go on; an upload that the registry no longer knows begins anew.
func (u *chunkedUpload) goOn(ctx context.Context, restart bool) error {
	if !restart {
		err := u.ask(ctx)
		if err == nil && u.offset <= u.blob.Size {
			return nil
		}
		if _, unknown := u.mayContinue(err); err != nil && !unknown {
			return err
		}
	}
	return u.start(ctx)
}

// send sends the next chunk.
func (u *chunkedUpload) send(ctx context.Context) error {
	n := min(u.chunk, u.blob.Size-u.offset)
	begin := u.offset
	body := func() io.ReadCloser {
		chunk := &chunkBody{SectionReader: io.NewSectionReader(u.content, begin, n)}
		if u.report != nil {
			chunk.report = func(sent int64) { u.report(begin+sent, u.blob.Size) }
		}
		return io.NopCloser(chunk)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.location.String(), body())
	if err != nil {
		return err
	}
	r.GetBody = func() (io.ReadCloser, error) { return body(), nil } // for a new token, after a 401 that took nothing of it
	r.ContentLength = n
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Content-Range", fmt.Sprintf("%d-%d", begin, begin+n-1))
	header, err := u.do(r, http.StatusAccepted)
	if err != nil {
		return err
	}
	u.offset = begin + n
	if end := rangeEnd(header.Get("Range")); end > 0 && end < u.offset {
		u.offset = end
	}
	u.state.keep(u.location)
	return nil
}

func (u *chunkedUpload) finish(ctx context.Context) error {
	at := *u.location
	query := at.Query()
	query.Set("digest", u.blob.Digest.String())
	at.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, at.String(), nil)
	if err != nil {
		return err
	}
	_, err = u.do(r, http.StatusCreated)
	if again, restart := u.mayContinue(err); !again || restart {
		u.state.forget() // else the next process may finish it
	}
	return err
}

// do sends a request, and follows the upload to where the answer says that it is.
func (u *chunkedUpload) do(r *http.Request, want int) (http.Header, error) {
	response, err := u.client.registry.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		return nil, responseError(r, response)
	}
	if location, err := response.Location(); err == nil && want != http.StatusCreated {
		location.Scheme = r.URL.Scheme // a proxy that ends TLS does not always say so
		if !u.sameHost(location) {
			return nil, fmt.Errorf("%s sends an upload on to another host, %s", u.client.server.Host, location.Host)
		}
		u.location = location
	} else if want == http.StatusAccepted {
		return nil, fmt.Errorf("%s does not say where an upload goes on", u.client.server.Host)
	}
	return response.Header, nil
}

// sameHost: credentials go to no other.
func (u *chunkedUpload) sameHost(location *url.URL) bool {
	own, err := url.Parse(u.client.url("/"))
	port := func(a *url.URL) string {
		return cmp.Or(a.Port(), map[string]string{"https": "443", "http": "80"}[a.Scheme])
	}
	return err == nil && strings.EqualFold(location.Hostname(), own.Hostname()) && port(location) == port(own)
}

// mayContinue says whether to go on after an error, and whether from the beginning.
func (u *chunkedUpload) mayContinue(err error) (again, restart bool) {
	var response *errcode.ErrorResponse
	if !errors.As(err, &response) {
		return err != nil && passing(err), false
	}
	switch response.StatusCode {
	case http.StatusNotFound:
		return true, true
	case http.StatusRequestedRangeNotSatisfiable, http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusUnauthorized:
		return true, false
	}
	return response.StatusCode >= http.StatusInternalServerError && response.StatusCode != http.StatusNotImplemented && response.StatusCode != http.StatusInsufficientStorage, false
}

// takesNoChunks says whether a registry refused the first chunk for its form.
func takesNoChunks(err error) bool {
	var response *errcode.ErrorResponse
	return errors.As(err, &response) && (response.StatusCode == http.StatusMethodNotAllowed || response.StatusCode == http.StatusNotImplemented ||
		response.StatusCode == http.StatusBadRequest || response.StatusCode == http.StatusRequestedRangeNotSatisfiable)
}

func (u *chunkedUpload) wait(ctx context.Context, reason error, failures int) error {
	wait := min(backoff(failures, nil), longest)
	if u.client.server.OnRetry != nil {
		u.client.server.OnRetry(reason.Error(), wait)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// rangeEnd is how many bytes "0-99" stands for; "0-0" is how registries write none.
func rangeEnd(text string) int64 {
	_, end, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	last, err := strconv.ParseInt(end, 10, 64)
	if !ok || err != nil || last <= 0 {
		return 0
	}
	return last + 1
}

// chunkBody reports how much of it was read.
type chunkBody struct {
	*io.SectionReader
	report func(sent int64)
}

// Read implements io.Reader.
func (b *chunkBody) Read(p []byte) (int, error) {
	n, err := b.SectionReader.Read(p)
	if at, seekErr := b.Seek(0, io.SeekCurrent); seekErr == nil && b.report != nil && n > 0 {
		b.report(at)
	}
	return n, err
}
