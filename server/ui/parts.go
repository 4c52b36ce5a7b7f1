package ui

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"packregistry.dev/pack"
	"packregistry.dev/server/ui/internal/values"
)

type dependenciesPage struct {
	*view
	Needs []dependency
	Left  int
}

// Range says which versions a dependency asks for.
func (d dependency) Range() string {
	switch {
	case d.MinVersion != "" && d.MaxVersion != "":
		return d.MinVersion + " to " + d.MaxVersion
	case d.MinVersion != "":
		return d.MinVersion + " or newer"
	case d.MaxVersion != "":
		return d.MaxVersion + " or older"
	}
	return "any version"
}

// Kind says in words what a dependency is.
func (d dependency) Kind() string {
	switch d.Type {
	case "required", "optional":
		return d.Type
	case "notSupported":
		return "not supported together"
	case "upgrade":
		return "upgrades from"
	}
	return clip(d.Type)
}

func (h *Handler) getDependencies(w http.ResponseWriter, r *request) error {
	v, err := h.open(r, "dependencies")
	if err != nil {
		return err
	}
	p := dependenciesPage{view: v, Needs: v.Meta.Constraints.Dependencies}
	if len(p.Needs) > maxListed {
		p.Needs, p.Left = p.Needs[:maxListed], len(p.Needs)-maxListed
	}
	return h.renderView(w, r, "dependencies", "Dependencies of "+v.DisplayName()+" "+v.Label, v, p)
}

type imagesPage struct {
	*view
	Images []image
	Left   int
	// Missing are images that a manifest uses and the list lacks.
	Missing []missingImage
	Why     string
}

type image struct{ Name, Tag string }

type missingImage struct {
	Image, File string
	Line        int
}

// splitImage separates an image's name from its tag or digest.
func splitImage(reference string) image {
	if name, digest, ok := strings.Cut(reference, "@"); ok {
		return image{name, digest}
	}
	if colon := strings.LastIndexByte(reference, ':'); colon > strings.LastIndexByte(reference, '/') {
		return image{reference[:colon], reference[colon+1:]}
	}
	return image{reference, ""}
}

func (h *Handler) getImages(w http.ResponseWriter, r *request) error {
	v, err := h.open(r, "images")
	if err != nil {
		return err
	}
	p := imagesPage{view: v}
	names := []string{pack.ValuesFile}
	for _, name := range v.Meta.KubeManifests {
		if len(names) <= 20 && v.Has(name) {
			names = append(names, name)
		}
	}
	files, err := readEach(r, v, names)
	if err != nil {
		return err
	}
	listed, why := values.Images(files[pack.ValuesFile])
	p.Why = why
	if r.URL.Query().Get("plain") != "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		return sendCompressed(w, r.Request, http.StatusOK, []byte(strings.Join(append(listed, ""), "\n")))
	}
	for _, reference := range listed[:min(len(listed), maxListed)] {
		p.Images = append(p.Images, splitImage(reference))
	}
	p.Left = len(listed) - len(p.Images)
	for _, name := range names[1:] {
		p.Missing = append(p.Missing, findImages(name, files[name], listed)...)
	}
	p.Missing = p.Missing[:min(len(p.Missing), 20)]
	return h.renderView(w, r, "images", "Images of "+v.DisplayName()+" "+v.Label, v, p)
}

// imageLine is a line of a manifest that names an image, and no template.
var imageLine = regexp.MustCompile(`^[\s-]*image:\s*["']?([a-z0-9][\w./:@-]{0,254})["']?\s*(?:#.*)?$`)

// findImages returns images that a manifest uses and the list lacks.
func findImages(name string, text []byte, listed []string) (missing []missingImage) {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		m := imageLine.FindSubmatch(bytes.TrimRight(line, "\r\n"))
		if m == nil || slices.Contains(listed, string(m[1])) || slices.ContainsFunc(missing, func(i missingImage) bool { return i.Image == string(m[1]) }) {
			continue
		}
		missing = append(missing, missingImage{string(m[1]), name, number})
	}
	return missing
}

// Name is what a resource is, in words.
func (r resource) Name() string {
	switch r.Type {
	case "cpu":
		return "CPU"
	case "memory":
		return "Memory"
	case "diskSize":
		return "Disk"
	}
	return clip(r.Type)
}

// Amount is how much of it there must be, in the unit that consoles use.
func (r resource) Amount() string {
	number := strconv.FormatFloat(r.MinLimit, 'f', -1, 64)
	return number + map[string]string{"cpu": " m", "memory": " MiB", "diskSize": " GB"}[r.Type]
}

func (r resource) String() string {
	if r.Type == "cpu" {
		return r.Amount() + " CPU"
	}
	return r.Amount() + " " + strings.ToLower(r.Name())
}
