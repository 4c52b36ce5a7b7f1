package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"packregistry.dev/pack"
)

// refuseParent says why a parent tag can be neither given nor taken away.
func refuseParent(name, tag string) error {
	if !pack.IsParentTag(tag) {
		return nil
	}
	return refused("%s:%s is a parent tag: it stands for the newest version below it, and goes with the last of them; name a version instead", name, tag)
}

// Deletion is what a deletion takes along.
type Deletion struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	// Tags are all tags of the version.
	Tags []string `json:"tags"`
}

// PlanDeletion finds a version by tag or digest, and all of its tags, which go with it.
func (c *Client) PlanDeletion(ctx context.Context, name, reference string) (*Deletion, error) {
	if err := refuseParent(name, reference); err != nil {
		return nil, err
	}
	repo, v, err := c.find(ctx, name, reference)
	if err != nil {
		return nil, err
	}
	tags, err := c.tags(ctx, name)
	if err != nil {
		return nil, err
	}
	digests, err := each(ctx, tags, func(ctx context.Context, tag string) (digest.Digest, error) {
		d, err := repo.Resolve(ctx, tag)
		if errors.Is(err, errdef.ErrNotFound) {
			return "", nil // deleted meanwhile
		}
		return d.Digest, c.explain(err)
	})
	if err != nil {
		return nil, err
	}
	plan := &Deletion{Name: name, Digest: v.manifest.Digest, Tags: []string{}}
	for i, tag := range tags {
		if digests[i] == plan.Digest {
			plan.Tags = append(plan.Tags, tag)
		}
	}
	pack.SortTags(plan.Tags)
	if err := refuseAlias(plan, v.tag); err != nil {
		return nil, err
	}
	return plan, nil
}

// refuseAlias refuses to delete a version by an alias: whoever removes "stable" seldom means the version. The versions' tags come
// first in a plan.
func refuseAlias(plan *Deletion, tag string) error {
	if tag == "" || pack.IsVersionTag(tag) {
		return nil
	}
	version := plan.Name + "@" + plan.Digest.String()
	if len(plan.Tags) > 0 && pack.IsVersionTag(plan.Tags[0]) {
		version = plan.Name + ":" + plan.Tags[0]
	}
	return refused("%s:%s is an alias, which does not delete its version; `packctl pack tag delete %s:%s` removes it, `packctl pack delete %s` deletes the version",
		plan.Name, tag, plan.Name, tag, version)
}

// Delete deletes a version, found by tag or digest, with every tag of it.
func (c *Client) Delete(ctx context.Context, name, reference string) (digest.Digest, error) {
	if err := refuseParent(name, reference); err != nil {
		return "", err
	}
	repo, v, err := c.find(ctx, name, reference)
	if err != nil {
		return "", err
	}
	if err := repo.Delete(ctx, v.manifest); err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return "", c.explain(err)
	}
	return v.manifest.Digest, nil
}

// DeletePlanned deletes what a plan names. The distribution specification leaves open what becomes of the tags of a manifest that is
// deleted: registries that keep them are made to remove them, too.
func (c *Client) DeletePlanned(ctx context.Context, plan *Deletion) error {
	if _, err := c.Delete(ctx, plan.Name, plan.Digest.String()); err != nil {
		return err
	}
	repo, err := c.repository(ctx, plan.Name)
	if err != nil {
		return err
	}
	for _, tag := range plan.Tags {
		d, err := repo.Resolve(ctx, tag)
		if errors.Is(err, errdef.ErrNotFound) || err == nil && d.Digest != plan.Digest {
			continue // gone, or another version's meanwhile
		}
		if err != nil {
			return c.explain(err)
		}
		if err := c.Untag(ctx, plan.Name, tag); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// Tag gives a version, found by tag, parent tag or digest, another tag. One that names another version is moved if force
// says so.
func (c *Client) Tag(ctx context.Context, name, reference, tag string, force bool) (digest.Digest, error) {
	if err := refuseParent(name, tag); err != nil {
		return "", err
	}
	repo, v, err := c.find(ctx, name, reference)
	if err != nil {
		return "", err
	}
	there, err := repo.Resolve(ctx, tag)
	switch {
	case err == nil && there.Digest == v.manifest.Digest:
		return there.Digest, nil
	case err == nil && !force:
		return "", refused("%s:%s names %s; --force moves it", name, tag, there.Digest)
	case err != nil && !errors.Is(err, errdef.ErrNotFound):
		return "", c.explain(err)
	}
	if force {
		ctx = context.WithValue(ctx, forceKey{}, true)
	}
	return v.manifest.Digest, c.explainPush(name, tag, repo.Tag(ctx, v.manifest, tag))
}

// Untag removes a tag. What it names stays.
func (c *Client) Untag(ctx context.Context, name, tag string) error {
	if err := refuseParent(name, tag); err != nil {
		return err
	}
	// oras-go does not know this request (Distribution 1.1, end-9 with a tag).
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, c.url("/v2/"+c.prefix()+name+"/manifests/"+tag), nil)
	if err != nil {
		return err
	}
	response, err := c.registry.Client.Do(r)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusAccepted:
		return nil
	case http.StatusNotFound:
		return c.missing(ctx, name, tag)
	}
	return c.explain(responseError(r, response))
}

// responseError reads what a registry says of a request that it did not do.
func responseError(r *http.Request, response *http.Response) *errcode.ErrorResponse {
	refusal := &errcode.ErrorResponse{Method: r.Method, URL: r.URL, StatusCode: response.StatusCode}
	var body struct{ Errors errcode.Errors }
	if text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10)); err == nil && json.Unmarshal(text, &body) == nil {
		refusal.Errors = body.Errors
	}
	return refusal
}
