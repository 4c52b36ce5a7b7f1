package ui

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"packregistry.dev/pack"
	"packregistry.dev/server/ui/internal/compare"
	"packregistry.dev/server/ui/internal/source"
)

type diffPage struct {
	*view
	// Other is the version that is compared with the page's: what changed from this one to the other.
	Other     *view
	Texts     []textDiff
	Files     []fileDiff
	Same      int
	Changed   int
	Added     int
	Removed   int
	Choices   []string
	From, To  string
	FilesLeft int
}

type textDiff struct {
	ID, Name string
	compare.Result
}

type fileDiff struct {
	Name, State string
	// Old and New are sizes; -1 for none.
	Old, New int64
}

// chooseDiff leads to the comparison that the form asks for.
func (h *Handler) chooseDiff(w http.ResponseWriter, r *request) error {
	q := r.URL.Query()
	v := &view{Name: r.PathValue("name"), base: h.Base}
	from, to := q.Get("from"), q.Get("to")
	if from == "" || to == "" {
		http.Redirect(w, r.Request, v.PathOf(r.PathValue("reference"), "versions"), http.StatusSeeOther)
		return nil
	}
	http.Redirect(w, r.Request, v.PathOf(from, "diff", escapePath(to)), http.StatusSeeOther)
	return nil
}

func (h *Handler) getDiff(w http.ResponseWriter, r *request) error {
	v, err := h.open(r, "versions")
	if err != nil {
		return err
	}
	other := *v
	other.Reference = r.PathValue("other")
	if other.Version, err = v.pack.Version(r.Context(), other.Reference); errors.Is(err, ErrNotFound) {
		return h.noVersion(&other)
	} else if err != nil {
		return err
	}
	if other.Files, err = v.pack.Files(r.Context(), other.Version); err != nil {
		return err
	}
	other.Label = label(other.Reference)
	if strings.Contains(other.Reference, ":") {
		other.Label = short(other.Reference)
	}
	all := v.versions()
	p := diffPage{view: v, Other: &other, Choices: all[:min(len(all), maxListed)], From: v.Reference, To: other.Reference}
	if err := p.compare(r); err != nil {
		return err
	}
	return h.renderView(w, r, "diff", v.DisplayName()+" "+v.Label+" and "+other.Label, v, p)
}

// compare compares the two versions' main files as texts, and the lists of their files.
func (p *diffPage) compare(r *request) error {
	names := []string{pack.MetadataFile, pack.ValuesFile, pack.ReadmeFile}
	old, err := readEach(r, p.view, names)
	if err != nil {
		return err
	}
	now, err := readEach(r, p.Other, names)
	if err != nil {
		return err
	}
	for i, name := range names[:2] {
		a, b := old[name], now[name]
		d := textDiff{ID: fmt.Sprintf("text%d", i), Name: name}
		if len(a) > compare.MaxSize || len(b) > compare.MaxSize || a == nil && p.Has(name) || b == nil && p.Other.Has(name) {
			d.TooLarge = true
		} else {
			d.Result = compare.Lines(splitText(a), splitText(b))
		}
		p.Texts = append(p.Texts, d)
	}
	p.files(old, now)
	return nil
}

func splitText(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return source.Split(strings.ToValidUTF8(string(text), "\uFFFD"))
}

// readEach reads files in one go, without those that are too large.
func readEach(r *request, v *view, names []string) (map[string][]byte, error) {
	var fitting []string
	for _, f := range v.Files {
		if f.Size <= maxRead && slices.Contains(names, f.Name) {
			fitting = append(fitting, f.Name)
		}
	}
	if len(fitting) == 0 {
		return nil, nil
	}
	return v.pack.Read(r.Context(), v.Version, maxRead, fitting...)
}

// files lists what is different by name or size, or by content where that was read. Other files of the same size may still differ, which
// the page says.
func (p *diffPage) files(old, now map[string][]byte) {
	sizes := map[string][2]int64{}
	for _, f := range p.view.Files {
		sizes[f.Name] = [2]int64{f.Size, -1}
	}
	for _, f := range p.Other.Files {
		pair, ok := sizes[f.Name]
		if !ok {
			pair[0] = -1
		}
		pair[1] = f.Size
		sizes[f.Name] = pair
	}
	for name, pair := range sizes {
		d := fileDiff{Name: name, Old: pair[0], New: pair[1]}
		switch {
		case pair[0] < 0:
			d.State = "added"
			p.Added++
		case pair[1] < 0:
			d.State = "removed"
			p.Removed++
		case pair[0] != pair[1] || !bytes.Equal(old[name], now[name]):
			d.State = "changed"
			p.Changed++
		default:
			p.Same++
			continue
		}
		p.Files = append(p.Files, d)
	}
	slices.SortFunc(p.Files, func(a, b fileDiff) int { return strings.Compare(a.Name, b.Name) })
	if len(p.Files) > maxListed {
		p.FilesLeft = len(p.Files) - maxListed
		p.Files = p.Files[:maxListed]
	}
}
