package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"packregistry.dev/pack"
)

// resolve finds a version by tag or digest.
func (c *Client) resolve(ctx context.Context, name, reference string) (*remote.Repository, ocispec.Descriptor, error) {
	repo, err := c.repository(ctx, name)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	d, err := repo.Resolve(ctx, reference)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, d, noSuch(name, reference)
	}
	return repo, d, explain(err)
}

func noSuch(name, reference string) error { return fmt.Errorf("there is no %s %s", name, reference) }

// Delete deletes a version, found by tag or digest, with every tag of it.
func (c *Client) Delete(ctx context.Context, name, reference string) (digest.Digest, error) {
	repo, d, err := c.resolve(ctx, name, reference)
	if err != nil {
		return "", err
	}
	if err := repo.Delete(ctx, d); err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return "", explain(err)
	}
	return d.Digest, nil
}

// Tag gives a version, found by tag or digest, another tag. One that names another version is moved if force says so.
func (c *Client) Tag(ctx context.Context, name, reference, tag string, force bool) (digest.Digest, error) {
	repo, d, err := c.resolve(ctx, name, reference)
	if err != nil {
		return "", err
	}
	there, err := repo.Resolve(ctx, tag)
	switch {
	case err == nil && there.Digest == d.Digest:
		return d.Digest, nil
	case err == nil && !force:
		return "", fmt.Errorf("%s:%s names %s; --force moves it", name, tag, there.Digest)
	case err != nil && !errors.Is(err, errdef.ErrNotFound):
		return "", explain(err)
	}
	if force {
		ctx = context.WithValue(ctx, forceKey{}, true)
	}
	err = repo.Tag(ctx, d, tag)
	var response *errcode.ErrorResponse
	if errors.As(err, &response) && len(response.Errors) > 0 {
		return "", fmt.Errorf("the server refused %s:%s: %s", name, tag, response.Errors[0].Message)
	}
	return d.Digest, explain(err)
}

// Untag removes a tag. What it names stays.
func (c *Client) Untag(ctx context.Context, name, tag string) error {
	scheme := "https"
	if c.registry.PlainHTTP {
		scheme = "http"
	}
	// oras-go does not know this request (Distribution 1.1, end-9 with a tag).
	target := url.URL{Scheme: scheme, Host: c.registry.Reference.Host(), Path: "/v2/" + pack.Repository(name) + "/manifests/" + tag}
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, target.String(), nil)
	if err != nil {
		return err
	}
	response, err := c.registry.Client.Do(r)
	if err != nil {
		return explain(err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusAccepted:
		return nil
	case http.StatusNotFound:
		return noSuch(name, tag)
	}
	refused := &errcode.ErrorResponse{Method: r.Method, URL: r.URL, StatusCode: response.StatusCode}
	var body struct{ Errors errcode.Errors }
	if text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10)); err == nil && json.Unmarshal(text, &body) == nil {
		refused.Errors = body.Errors
	}
	return explain(refused)
}
