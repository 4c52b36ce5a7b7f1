package pages

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/store"
	"packregistry.dev/server/ui"
)

// changes changes tags for the sender of one request, by the API's rules.
type changes struct {
	p *Pages
	v *Visit
}

// refusal is an error for the viewer, with its status.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string   { return e.text }
func (e *refusal) HTTPStatus() int { return e.status }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// repository is where a pack's tags are, if the user may change them.
func (c changes) repository(action auth.Action, packName string) (*store.Repository, error) {
	name := pack.Repository(packName)
	if !store.ValidName(name) {
		return nil, ui.ErrNotFound
	}
	if !c.p.allows(c.v.User, action, name) {
		c.v.Forbidden(action, name)
		return nil, refuse(http.StatusForbidden, "%s may not %s here (auth.access)", c.v.User, action)
	}
	if err := c.v.Room(action); err != nil {
		return nil, err
	}
	return c.p.Store.Repository(name), nil
}

func (c changes) Tag(ctx context.Context, packName, tag string, d digest.Digest, message string, move bool) error {
	to, err := c.repository(auth.Push, packName)
	if err != nil {
		return err
	}
	switch {
	case !store.ValidTag(tag) || pack.IsSignatureTag(tag):
		return refuse(http.StatusBadRequest, "%.130q is no tag: use letters, digits, '.', '_' and '-', 128 at most", tag)
	case pack.IsParentTag(tag):
		return refuse(http.StatusBadRequest, "%s is a parent tag: it always names the newest version below it, and cannot be set", tag)
	}
	m, err := to.Head(ctx, d)
	if err != nil {
		return c.shown(err)
	}
	if err := c.mayName(tag, m); err != nil {
		return err
	}
	if err := to.Tag(ctx, tag, d, c.v.User, move); err != nil {
		return c.shown(err)
	}
	c.p.Index.Touch(packName)
	c.v.Audit("manifest pushed", to.Name(), "tags", []string{tag}, "digest", d, "by", "pages", "message", message)
	return nil
}

// mayName holds a version's tag to the version that its pack.json makes, as pushes are held to it.
func (c changes) mayName(tag string, m *store.Manifest) error {
	switch {
	case c.p.Config.Packs.Validation != "enforce":
	case m.Pack == "":
		return refuse(http.StatusBadRequest, "this version was not validated when it was pushed; push it anew with packctl, with the tag")
	case pack.IsVersionTag(tag) && tag != m.Pack:
		return refuse(http.StatusBadRequest, "%s would name %s: the tag of a version is the one that its pack.json makes. Other names are aliases", tag, m.Pack)
	}
	return nil
}

func (c changes) Untag(ctx context.Context, packName, tag, message string) error {
	from, err := c.repository(auth.Delete, packName)
	if err != nil {
		return err
	}
	switch {
	case !store.ValidTag(tag):
		return refuse(http.StatusBadRequest, "%.130q is no tag", tag)
	case pack.IsParentTag(tag), pack.IsSignatureTag(tag):
		return refuse(http.StatusBadRequest, "%s cannot be taken away here", tag)
	}
	if err := from.DeleteTag(ctx, tag); err != nil {
		return c.shown(err)
	}
	c.p.Index.Touch(packName)
	c.v.Audit("tag deleted", from.Name(), "tag", tag, "by", "pages", "message", message)
	return nil
}

func (c changes) Keeps() time.Duration { return c.p.keeps() }

// shown is an error of the store as the pages show it.
func (c changes) shown(err error) error {
	if errors.Is(err, store.ErrTagExists) {
		return fmt.Errorf("%w: %w", ui.ErrTagExists, err)
	}
	return registry(c).shown(err)
}
