package ui

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
)

// versionsPerPage is how many versions a page of them has; each is looked up.
const versionsPerPage = 50

type versionsPage struct {
	*view
	Groups []versionGroup
	// Count is the number of groups that all versions are in.
	Count int
	// Moving are aliases and parents with what they name.
	Moving  []moving
	Changes []Change
	// Previous and Next are paths of other pages; empty where there are none.
	Previous, Next string
	// MayTag, MayUntag and MayDelete say what the viewer is offered.
	MayTag, MayUntag, MayDelete bool
	// Choices are the versions to compare, and From and To those that are proposed.
	Choices  []string
	From, To string
}

type versionGroup struct {
	Name string
	Rows []versionRow
}

type versionRow struct {
	Tag     string
	Version Version
	// Points are parents and aliases that name the version.
	Parents, Aliases []string
}

type moving struct {
	Tag, To string
	Digest  digest.Digest
	Parent  bool
}

func (h *Handler) getVersions(w http.ResponseWriter, r *request) error {
	v, err := h.open(r, "versions")
	if err != nil {
		return err
	}
	p := versionsPage{view: v, To: v.Newest, From: v.Newest}
	if name := r.PathValue("name"); h.Changes != nil {
		p.MayTag, p.MayUntag, p.MayDelete = r.viewer.May(Tag, name), r.viewer.May(Untag, name), r.viewer.May(Delete, name)
	}
	all := v.versions()
	begin := 0
	if after := r.URL.Query().Get("after"); after != "" {
		begin = slices.Index(all, after) + 1
	}
	shown := all[begin:min(begin+versionsPerPage, len(all))]
	if begin > 0 {
		p.Previous = v.Path("versions")
		if begin > versionsPerPage {
			p.Previous += "?after=" + url.QueryEscape(all[begin-versionsPerPage-1])
		}
	}
	if begin+len(shown) < len(all) {
		p.Next = v.Path("versions") + "?after=" + url.QueryEscape(shown[len(shown)-1])
	}
	aliases := v.Tags[v.Versions:]
	aliases = aliases[:min(len(aliases), maxAliases)]
	found := resolve(r.Context(), v.pack, slices.Concat(shown, aliases))
	p.fill(shown, aliases, found)
	groups := map[string]bool{}
	for _, tag := range all {
		groups[pack.Group(tag)] = true
	}
	p.Count = len(groups)
	p.Choices = all[:min(len(all), maxListed)]
	if i := slices.Index(all, v.Tag); i >= 0 && i+1 < len(all) {
		p.From, p.To = all[i+1], v.Tag
	}
	if p.Changes, err = v.pack.History(r.Context(), 100); err != nil {
		return err
	}
	return h.renderView(w, r, "versions", "Versions of "+v.DisplayName(), v, p)
}

// fill puts the versions of a page into their groups, with what points to them.
func (p *versionsPage) fill(shown, aliases []string, found map[string]Version) {
	for _, tag := range shown {
		at, ok := found[tag]
		if !ok {
			continue
		}
		row := versionRow{Tag: tag, Version: at}
		for _, parent := range pack.Parents(tag) {
			if pack.Newest(p.Tags, parent) == tag {
				row.Parents = append(row.Parents, parent)
				p.Moving = append(p.Moving, moving{parent, tag, at.Digest, true})
			}
		}
		for _, alias := range aliases {
			if to, ok := found[alias]; ok && to.Digest == at.Digest {
				row.Aliases = append(row.Aliases, alias)
				p.Moving = append(p.Moving, moving{alias, tag, at.Digest, false})
			}
		}
		group := pack.Group(tag)
		if len(p.Groups) == 0 || p.Groups[len(p.Groups)-1].Name != group {
			p.Groups = append(p.Groups, versionGroup{Name: group})
		}
		last := &p.Groups[len(p.Groups)-1]
		last.Rows = append(last.Rows, row)
	}
	slices.SortStableFunc(p.Moving, func(a, b moving) int {
		if a.Parent != b.Parent {
			if a.Parent {
				return -1
			}
			return 1
		}
		return 0
	})
}
