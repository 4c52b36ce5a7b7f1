package ui

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"packregistry.dev/pack"
	"packregistry.dev/server/ui/internal/readme"
)

// packPage is the page of a version: its README, how to pull it, and its facts.
type packPage struct {
	*view
	README template.HTML
	// Text is the README where it is not rendered, and Why the reason.
	Text, Why string
	// Host is the registry's, and Address its URL.
	Host, Address string
	// Named are the stored tags that name this version, Parents the parent tags.
	Named, Parents []string
	EndOfLife      time.Time
	Documentation  string
	Attached       []Attachment
}

// Repository is where the pack lies for OCI clients.
func (p packPage) Repository() string { return p.Host + "/" + pack.Repository(p.Name) }

// PullTag is the tag to pull by.
func (p packPage) PullTag() string {
	if strings.Contains(p.Reference, ":") {
		return p.Tag
	}
	return p.Reference
}

// Ended says whether the version's life is over.
func (p packPage) Ended(now time.Time) bool { return !p.EndOfLife.IsZero() && now.After(p.EndOfLife) }

func (h *Handler) getPack(w http.ResponseWriter, r *request) error {
	v, err := h.open(r, "readme")
	if err != nil {
		return err
	}
	address := h.address(r)
	p := packPage{view: v, Address: address, Host: hostOf(address)}
	if err := p.readREADME(r.Context(), h); err != nil {
		return err
	}
	p.Named = namesOf(r.Context(), v)
	for _, parent := range pack.Parents(v.Tag) {
		if pack.Newest(v.Tags, parent) == v.Tag {
			p.Parents = append(p.Parents, parent)
		}
	}
	p.EndOfLife, _ = time.Parse(time.DateOnly, v.Meta.EOL) //nolint:errcheck // shown as it is
	if docs := v.Meta.Annotations["docsURL"]; strings.HasPrefix(docs, "https://") || strings.HasPrefix(docs, "http://") {
		p.Documentation = docs
	}
	if p.Attached, err = v.pack.Attached(r.Context(), v.Version, maxListed); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return h.renderView(w, r, "pack", v.DisplayName()+" "+v.Label, v, p)
}

func (p *packPage) readREADME(ctx context.Context, h *Handler) error {
	if !p.Has(pack.ReadmeFile) {
		return nil
	}
	files, err := p.pack.Read(ctx, p.Version, maxRead, pack.ReadmeFile)
	if errors.Is(err, ErrTooLarge) {
		p.Why = "The README is too large to be shown here."
		return nil
	}
	if err != nil {
		return err
	}
	text := files[pack.ReadmeFile]
	rendered := h.cached("readme "+p.Name+" "+p.Version.Digest.String()+" "+p.Reference, func() any {
		out, ok := readme.Render(text, readme.Options{Title: p.DisplayName(), Page: p.FilePath, Content: p.RawPath})
		if !ok {
			return nil
		}
		return out
	})
	if out, ok := rendered.(template.HTML); ok {
		p.README = out
		return nil
	}
	p.Text, p.Why = strings.ToValidUTF8(string(text[:min(len(text), readme.MaxSize)]), "\uFFFD"), "The README is shown as text: it is too large or too intricate to be rendered."
	return nil
}

// namesOf are the stored tags that name a version: its own, and those aliases that do.
func namesOf(ctx context.Context, v *view) []string {
	var names []string
	if v.Tag != "" {
		names = append(names, v.Tag)
	}
	aliases := v.Tags[v.Versions:]
	for alias, at := range resolve(ctx, v.pack, aliases[:min(len(aliases), maxAliases)]) {
		if at.Digest == v.Version.Digest {
			names = append(names, alias)
		}
	}
	slices.Sort(names[min(1, len(names)):])
	return names
}

// resolve finds what tags name, several at once. Those that went meanwhile are left out.
func resolve(ctx context.Context, from Pack, tags []string) map[string]Version {
	found := map[string]Version{}
	var lock sync.Mutex
	var group sync.WaitGroup
	places := make(chan struct{}, 8)
	for _, tag := range tags {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			if v, err := from.Version(ctx, tag); err == nil {
				lock.Lock()
				defer lock.Unlock()
				found[tag] = v
			}
		})
	}
	group.Wait()
	return found
}
