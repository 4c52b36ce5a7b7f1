package ui

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"packregistry.dev/pack"
)

// Bounds on what pages read and show.
const (
	// maxRead is how large a file may be to be shown, in bytes.
	maxRead = 1 << 20
	// menuVersions is how many versions the menu in a pack's head has.
	menuVersions = 12
	// maxAliases is how many aliases are looked up to see where they point.
	maxAliases = 50
	// maxListed is how many things a list without pages has.
	maxListed = 500
)

// view is a version of a pack, as the pages below its head need it.
type view struct {
	Name, Reference string
	// Tag is the version's own tag; empty where that names another version by now, or is not there.
	Tag     string
	Label   string
	Newest  string
	Version Version
	Meta    metadata
	// Tags are all stored tags, versions first; Versions how many of them are versions, and More says that there are more.
	Tags     []string
	Versions int
	More     bool
	Files    []pack.File
	// Current is the tab.
	Current string
	pack    Pack
	base    string
}

// metadata is pack.json, read without trust: what does not fit is left out.
type metadata struct {
	pack.Metadata
	EOL         string `json:"eol"`
	Constraints struct {
		Dependencies []dependency `json:"dependencies"`
		Resources    []resource   `json:"resources"`
	} `json:"constraints"`
}

type dependency struct {
	PackName, Layer, MinVersion, MaxVersion, Type string
}

type resource struct {
	Type     string
	MinLimit float64
}

// StateOf says how a pack stands: "", "deprecated" or "disabled".
func StateOf(m pack.Metadata) string {
	if state := m.State(); state == "disabled" || state == "deprecated" {
		return state
	}
	return ""
}

func (v *view) State() string { return StateOf(v.Meta.Metadata) }

// DisplayName is the pack's name for people.
func (v *view) DisplayName() string { return cmp.Or(strings.TrimSpace(v.Meta.DisplayName), v.Name) }

// Has says whether the version has a file.
func (v *view) Has(name string) bool {
	_, found := slices.BinarySearchFunc(v.Files, name, func(f pack.File, name string) int { return strings.Compare(f.Name, name) })
	return found
}

// Path is the path of a page of the version as it was asked for.
func (v *view) Path(parts ...string) string { return v.PathOf(v.Reference, parts...) }

// PathOf is the path of a page of another version.
func (v *view) PathOf(reference string, parts ...string) string {
	path := v.base + "packs/" + url.PathEscape(v.Name) + "/" + url.PathEscape(reference)
	for _, part := range parts {
		path += "/" + part
	}
	return path
}

// FilePath is the page of a file.
func (v *view) FilePath(name string) string { return v.Path("files", escapePath(name)) }

// RawPath is a file as it is, of this digest, so that it never changes.
func (v *view) RawPath(name string) string {
	return v.PathOf(v.Version.Digest.String(), "files", escapePath(name)) + "?raw=1"
}

func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// label is a tag for people: LTS 1.1.0 is LTS__1.1.0.
func label(tag string) string { return strings.Replace(tag, "__", " ", 1) }

// Menu is the newest versions.
func (v *view) Menu() []string { return v.versions()[:min(v.Versions, menuVersions)] }

func (v *view) versions() []string { return v.Tags[:v.Versions] }

// short is a digest that people tell from others.
func short(digest string) string {
	_, hex, ok := strings.Cut(digest, ":")
	if !ok {
		hex = digest
	}
	return hex[:min(12, len(hex))]
}

// open finds the version that a request is for, with what the head of its page needs.
func (h *Handler) open(r *request, current string) (*view, error) {
	ctx := r.Context()
	v := &view{Name: r.PathValue("name"), Reference: r.PathValue("reference"), Current: current, base: h.Base}
	v.pack = r.registry.Pack(v.Name)
	var err error
	if v.Tags, v.More, err = v.pack.Tags(ctx); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if len(v.Tags) == 0 {
		if !strings.Contains(v.Reference, ":") {
			return nil, &failure{Status: http.StatusNotFound, Heading: "There is no pack " + clip(v.Name), Text: "It was never pushed here, was deleted, or is not for " + whom(r) + "."}
		}
	}
	for v.Versions < len(v.Tags) && pack.IsVersionTag(v.Tags[v.Versions]) {
		v.Versions++
	}
	if v.Newest = pack.Newest(v.Tags, ""); v.Newest == "" && len(v.Tags) > 0 {
		v.Newest = v.Tags[0]
	}
	if v.Reference == "" {
		v.Reference = v.Newest
	}
	if v.Version, err = v.pack.Version(ctx, v.Reference); errors.Is(err, ErrNotFound) {
		return nil, h.noVersion(v)
	} else if err != nil {
		return nil, err
	}
	if err := v.readMetadata(ctx); err != nil {
		return nil, err
	}
	if v.Files, err = v.pack.Files(ctx, v.Version); err != nil {
		return nil, err
	}
	if err := v.findTag(ctx); err != nil {
		return nil, err
	}
	v.Label = label(cmp.Or(v.Tag, v.Meta.Version, short(v.Reference)))
	return v, nil
}

// findTag sets the version's own tag, if that names it still: somebody may have pushed the version again.
func (v *view) findTag(ctx context.Context) error {
	own := v.Meta.Tag()
	if !slices.Contains(v.Tags, own) {
		return nil
	}
	named := v.Version
	if own != v.Reference {
		var err error
		if named, err = v.pack.Version(ctx, own); errors.Is(err, ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
	}
	if named.Digest == v.Version.Digest {
		v.Tag = own
	}
	return nil
}

func (v *view) readMetadata(ctx context.Context) error {
	files, err := v.pack.Read(ctx, v.Version, maxRead, pack.MetadataFile)
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return err
	}
	text := files[pack.MetadataFile]
	json.Unmarshal(text, &v.Meta) //nolint:errcheck // what can be read is shown
	v.Meta.Metadata, _ = pack.ParseMetadata(text)
	return nil
}

// noVersion is the page for a version that is not there, with those that are.
func (h *Handler) noVersion(v *view) error {
	f := &failure{Status: http.StatusNotFound, Heading: clip(v.Name) + " has no version " + clip(label(v.Reference)), Text: "It was never pushed here, or it was deleted."}
	if v.Newest != "" {
		f.Near = append(f.Near, link{"Newest", v.PathOf(v.Newest), label(v.Newest), ""},
			link{"All", v.PathOf(v.Newest, "versions"), count(len(v.Tags), "tag"), ""})
	}
	return f
}

// clip shortens what a request said to what a heading has room for.
func clip(s string) string {
	const limit = 100
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}

// renderView answers with a page below a pack's head.
func (h *Handler) renderView(w http.ResponseWriter, r *request, template, title string, v *view, data any) error {
	return h.render(w, r, content{Template: template, Title: title, Section: "packs", Pack: v, Data: data})
}
