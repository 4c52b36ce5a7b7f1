package pages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/internal/packtags"
	"packregistry.dev/server/internal/summaries"
	"packregistry.dev/server/internal/transfer"
	"packregistry.dev/server/store"
	"packregistry.dev/server/ui"
)

// registry is what one viewer sees.
type registry struct {
	p *Pages
	v *Visit
}

// denied is the error for what a viewer may not see: nothing says whether it is there.
func (g registry) denied() error {
	if g.v.User == "" && g.p.sessions != nil {
		return ui.ErrLogin
	}
	return ui.ErrNotFound
}

// nobody says whether a viewer may see nothing at all, before a login.
func (g registry) nobody() bool {
	return g.v.User == "" && g.p.Policy != nil && !g.p.Policy.Anonymous()
}

func (g registry) Search(ctx context.Context, q ui.Query) (ui.List, error) {
	if g.nobody() {
		return ui.List{}, ui.ErrLogin
	}
	mayPull := func(name string) bool { return g.p.allows(g.v.User, auth.Pull, pack.Repository(name)) }
	if g.p.Policy == nil || g.p.Policy.Everything(g.v.User) {
		mayPull = func(string) bool { return true }
	}
	query := summaries.Query{Text: q.Text, Layer: q.Layer, Type: q.Type, Cloud: q.Cloud, Source: q.Source, State: state(q.State), ByDate: q.ByDate, After: q.After, Limit: q.Limit}
	found, err := g.search(ctx, query, mayPull)
	if errors.Is(err, summaries.ErrCursor) {
		return ui.List{}, refuse(http.StatusBadRequest, "%s", err)
	}
	if err != nil {
		return ui.List{}, g.shown(err)
	}
	list := ui.List{More: found.More, Found: found.Found, Total: found.Total, Indexed: found.Indexed, Types: found.Types, Sources: found.Sources}
	for _, r := range found.Rows {
		list.Packs = append(list.Packs, ui.Summary{Name: r.Name, DisplayName: cmp.Or(r.DisplayName, r.Name), Description: r.Description, Tag: r.Tag, Digest: r.Digest,
			Versions: r.Versions, Layer: r.Layer, Type: r.Type, Source: r.Source, State: r.State, Logo: r.Logo, Pushed: r.Pushed})
	}
	return list, nil
}

// state is what the index calls a choice of the pages, where "" leaves out what is disabled.
func state(chosen string) string {
	switch chosen {
	case "":
		return "enabled"
	case "all":
		return ""
	}
	return chosen
}

// Times of the first search after a start, which finds an index that is only being made.
const (
	firstWait = 2 * time.Second
	firstLook = 10 * time.Millisecond
)

// search asks the index, and waits a moment for it where it knows of no pack yet though there is one.
func (g registry) search(ctx context.Context, q summaries.Query, mayPull func(string) bool) (summaries.Result, error) {
	for until := time.Now().Add(firstWait); ; {
		found, err := g.p.Index.Search(ctx, q, mayPull)
		if found.Indexed > 0 || time.Now().After(until) {
			g.p.indexed.Store(true)
		}
		if err != nil || g.p.indexed.Load() {
			return found, err
		}
		if names, err := g.p.Store.Repositories(ctx, pack.ArchivePrefix, "", 1); err != nil || len(names) == 0 {
			return found, err
		}
		select {
		case <-time.After(firstLook):
		case <-ctx.Done():
			return found, ctx.Err()
		}
	}
}

func (g registry) About(ctx context.Context) (ui.About, error) {
	if g.nobody() {
		return ui.About{}, ui.ErrLogin
	}
	c := g.p.Config
	a := ui.About{Validated: c.Packs.Validation == "enforce", Deletable: c.DeleteEnabled(), ReadOnly: c.Storage.Maintenance.ReadOnly.Enabled}
	if !g.p.allows(g.v.User, auth.Push, pack.Repository("any")) {
		return a, nil
	}
	switch {
	case c.Storage.S3 != nil:
		a.Storage = "S3"
	case c.Storage.Filesystem != nil:
		a.Storage = "file system"
	default:
		a.Storage = "memory"
	}
	a.Free, a.Capacity, _ = g.p.Store.Space(ctx)
	return a, nil
}

func (g registry) Pack(name string) ui.Pack { return packOf{g, name, pack.Repository(name)} }

// shown is an error of the store as the pages show it.
func (g registry) shown(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", ui.ErrNotFound, err)
	}
	var known interface{ HTTPStatus() int }
	if classified := g.v.Classify(err); errors.As(classified, &known) && known.HTTPStatus() == http.StatusNotFound {
		return fmt.Errorf("%w: %w", ui.ErrNotFound, err)
	} else if classified != nil {
		return classified
	}
	return err
}

// packOf is one pack, which need not be there.
type packOf struct {
	registry
	name, full string
}

// repository is where the pack is, if the viewer may see it.
func (k packOf) repository() (*store.Repository, error) {
	if !store.ValidName(k.full) {
		return nil, ui.ErrNotFound
	}
	if !k.p.allows(k.v.User, auth.Pull, k.full) {
		return nil, k.denied()
	}
	return k.p.Store.Repository(k.full), nil
}

// maxTags bounds how many tags of a pack are read for a page.
const maxTags = 1000

func (k packOf) Tags(ctx context.Context) (tags []string, more bool, err error) {
	from, err := k.repository()
	if err != nil {
		return nil, false, err
	}
	stored, last, err := from.TagPage(ctx, "", maxTags)
	if err != nil {
		return nil, false, k.shown(err)
	}
	tags = slices.DeleteFunc(stored, func(tag string) bool { return pack.IsSignatureTag(tag) || pack.IsParentTag(tag) })
	pack.SortTags(tags)
	return tags, last != "", nil
}

func (k packOf) Version(ctx context.Context, reference string) (ui.Version, error) {
	from, err := k.repository()
	if err != nil {
		return ui.Version{}, err
	}
	m, err := find(ctx, from, reference)
	if err != nil {
		return ui.Version{}, k.shown(err)
	}
	v := ui.Version{Digest: m.Digest, Pushed: m.Pushed}
	if k.v.User != "" || k.p.Policy == nil {
		v.By = m.By
	}
	for _, file := range m.Files {
		if file.Archive != "" {
			v.Archive = file.Archive
		}
	}
	if v.Archive == "" {
		if v.Archive, err = archive(ctx, from, m.Digest); err != nil {
			return v, k.shown(err)
		}
	}
	v.Size, err = from.StatBlob(ctx, v.Archive)
	return v, k.shown(err)
}

// find returns the head of what a tag, a parent tag or a digest names.
func find(ctx context.Context, from *store.Repository, reference string) (*store.Manifest, error) {
	if strings.Contains(reference, ":") {
		d := digest.Digest(reference)
		if !store.SupportedDigest(d) {
			return nil, store.ErrNotFound
		}
		return from.Head(ctx, d)
	}
	if !store.ValidTag(reference) || pack.IsSignatureTag(reference) {
		return nil, store.ErrNotFound
	}
	if pack.IsParentTag(reference) {
		if m, err := (packtags.Of{Repository: from}).Below(ctx, reference, from.TaggedHead); !errors.Is(err, store.ErrNotFound) {
			return m, err
		}
	}
	return from.TaggedHead(ctx, reference)
}

// archive finds the archive of a manifest that was not validated, or was pushed to an early version.
func archive(ctx context.Context, from *store.Repository, d digest.Digest) (digest.Digest, error) {
	m, err := from.Manifest(ctx, d)
	if err != nil {
		return "", err
	}
	c, err := store.ParseManifest(m.MediaType, m.Content)
	if err != nil || len(c.Layers) != 1 {
		return "", fmt.Errorf("%s is no pack: %w", d, store.ErrNotFound)
	}
	return c.Layers[0].Digest, nil
}

func (k packOf) Files(_ context.Context, v ui.Version) ([]pack.File, error) {
	from, err := k.repository()
	if err != nil {
		return nil, err
	}
	files, err := k.v.Files(from, v.Digest)
	if err != nil {
		return nil, k.shown(err)
	}
	return files, nil
}

func (k packOf) Read(ctx context.Context, v ui.Version, limit int64, names ...string) (map[string][]byte, error) {
	from, err := k.repository()
	if err != nil {
		return nil, err
	}
	m, err := from.Head(ctx, v.Digest)
	if err != nil {
		return nil, k.shown(err)
	}
	found := map[string][]byte{}
	var packed []string
	for _, name := range names {
		i := slices.IndexFunc(m.Files, func(f store.File) bool { return f.Name == name && f.Archive == "" })
		if i < 0 {
			packed = append(packed, name)
			continue
		}
		if m.Files[i].Size > limit {
			return nil, fmt.Errorf("%s: %w", name, ui.ErrTooLarge)
		}
		if found[name], err = from.ReadBlob(ctx, m.Files[i].Digest, limit); err != nil {
			return nil, k.shown(err)
		}
	}
	return found, k.readPacked(from, v, limit, packed, found)
}

// readPacked reads files that are in the archive alone.
func (k packOf) readPacked(from *store.Repository, v ui.Version, limit int64, names []string, found map[string][]byte) error {
	if len(names) == 0 {
		return nil
	}
	listed, err := k.v.Files(from, v.Digest)
	if err != nil {
		return k.shown(err)
	}
	left := 0
	for _, file := range listed {
		switch {
		case !slices.Contains(names, file.Name):
		case file.Size > limit:
			return fmt.Errorf("%s: %w", file.Name, ui.ErrTooLarge)
		default:
			left++
		}
	}
	if left == 0 {
		return nil
	}
	err = k.v.Walk(from, v.Digest, func(name string, size int64, content io.Reader, _ transfer.Around) (err error) {
		if !slices.Contains(names, name) || size > limit {
			return nil
		}
		if found[name], err = io.ReadAll(io.LimitReader(content, limit)); err != nil {
			return err
		}
		if left--; left == 0 {
			return pack.ErrStop
		}
		return nil
	})
	if left == 0 {
		return nil // what is wrong with the rest is not this page's matter
	}
	return k.shown(err)
}

func (k packOf) Copy(_ context.Context, v ui.Version, wanted string, to io.Writer) error {
	from, err := k.repository()
	if err != nil {
		return err
	}
	listed, err := k.v.Files(from, v.Digest)
	if err != nil {
		return k.shown(err)
	}
	if !slices.ContainsFunc(listed, func(f pack.File) bool { return f.Name == wanted }) {
		return ui.ErrNotFound
	}
	found := false
	err = k.v.Walk(from, v.Digest, func(name string, _ int64, content io.Reader, around transfer.Around) error {
		if name != wanted {
			return nil
		}
		found = true
		if w, ok := to.(http.ResponseWriter); ok {
			if err := transfer.CopyPaced(w, content, around); err != nil {
				return err
			}
		} else if _, err := io.Copy(to, content); err != nil {
			return err
		}
		return pack.ErrStop
	})
	var invalid *pack.Error
	if found && errors.As(err, &invalid) {
		return nil // what was asked for is sent
	}
	return k.shown(err)
}

func (k packOf) Attached(ctx context.Context, v ui.Version, limit int) ([]ui.Attachment, error) {
	from, err := k.repository()
	if err != nil {
		return nil, err
	}
	found, _, err := from.Referrers(ctx, v.Digest, "", limit)
	if err != nil {
		return nil, k.shown(err)
	}
	attached := make([]ui.Attachment, len(found))
	for i, one := range found {
		attached[i] = ui.Attachment{Type: one.ArtifactType, Digest: one.Digest, Size: one.Size}
		if one.ArtifactType == "" {
			attached[i].Type = one.MediaType
		}
	}
	return attached, nil
}

// History is empty as long as the store records none.
func (k packOf) History(context.Context, int) ([]ui.Change, error) { return nil, nil }
