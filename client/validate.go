package client

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"packregistry.dev/internal/helmchart"
	"packregistry.dev/pack"
)

// Validation is what was found about the pack in a directory.
type Validation struct {
	Directory string           `json:"directory"`
	Name      string           `json:"name,omitempty"`
	Tag       string           `json:"tag,omitempty"`
	Errors    []pack.Violation `json:"errors"`
	Warnings  []pack.Violation `json:"warnings"`
}

// Validate validates the pack in a directory. The error is one of reading; without one, and without Errors, the pack is
// returned too.
func Validate(dir string) (*Validation, *pack.Directory, error) {
	v := &Validation{Directory: dir, Errors: []pack.Violation{}, Warnings: []pack.Violation{}}
	d, err := pack.OpenDirectory(dir)
	var invalid *pack.Error
	if errors.As(err, &invalid) {
		v.Errors = invalid.Violations
	} else if err != nil {
		return nil, nil, err
	}
	if d != nil {
		v.Name = d.Name
		if d.Version != "" {
			v.Tag = d.Tag()
		}
		v.Warnings = append(v.Warnings, d.Warnings...)
	}
	if len(v.Errors) > 0 {
		return v, nil, nil
	}
	return v, d, nil
}

// Strict makes errors of the warnings.
func (v *Validation) Strict() {
	v.Errors, v.Warnings = slices.Concat(v.Errors, v.Warnings), []pack.Violation{}
}

// FindPacks returns the folders of the packs at dirs; with recursive, of those below them, too.
func FindPacks(dirs []string, recursive bool) ([]string, error) {
	var found []string
	for _, dir := range dirs {
		if !recursive {
			found = append(found, dir)
			continue
		}
		below, err := packsBelow(dir)
		if err != nil {
			return nil, err
		}
		if len(below) == 0 {
			return nil, &fs.PathError{Op: "find packs below", Path: dir, Err: errors.New("there is no pack.json")}
		}
		found = append(found, below...)
	}
	for i, dir := range found {
		found[i] = filepath.Clean(dir)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// packsBelow finds folders with a pack.json. Packs do not nest.
func packsBelow(root string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if path != root && (entry.Name() == ".git" || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		if isPack(path) {
			found = append(found, path)
			return fs.SkipDir
		}
		return nil
	})
	return found, err
}

func isPack(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, pack.MetadataFile))
	return err == nil && info.Mode().IsRegular()
}

// PacksIn returns the packs directly in a folder that is none itself: what a person most likely meant.
func PacksIn(dir string) []string {
	if isPack(dir) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found []string
	for _, entry := range entries {
		if isPack(filepath.Join(dir, entry.Name())) {
			found = append(found, filepath.Join(dir, entry.Name()))
		}
	}
	return found
}

// CheckImages warns of images that the pack's charts use with their own values, and that pack.content.images lacks. A chart
// that does not render without the values of a cluster has none.
func (v *Validation) CheckImages(d *pack.Directory) {
	listed := map[string]bool{}
	text, err := os.ReadFile(filepath.Join(v.Directory, pack.ValuesFile))
	images := imagesIn(text)
	if err != nil || len(images) == 0 {
		return // which has a warning already
	}
	for _, image := range images {
		listed[shortImage(image)] = true
	}
	for _, file := range d.Charts {
		chart, err := helmchart.Load(filepath.Join(v.Directory, filepath.FromSlash(file)))
		if err != nil {
			continue
		}
		images, err := chart.Images()
		if err != nil {
			continue
		}
		for _, image := range images {
			if !listed[shortImage(image)] {
				v.Warnings = append(v.Warnings, pack.Violation{Rule: "images", Path: pack.ValuesFile, Message: "the chart " + chart.Name + " uses the image " + image +
					", which pack.content.images lacks", Mend: "add it: where there is no internet it would be missing"})
			}
		}
	}
}

// CheckGroup warns of a group that differs in case only from that of versions that the registry has: each is a group of its own there.
func (c *Client) CheckGroup(ctx context.Context, v *Validation, d *pack.Directory) error {
	group := pack.Group(d.Tag())
	if group == "" {
		return nil
	}
	tags, err := c.tags(ctx, d.Name)
	if err != nil {
		return err
	}
	pack.SortTags(tags)
	for _, tag := range tags {
		if other := pack.Group(tag); other != group && strings.EqualFold(other, group) {
			v.Warnings = append(v.Warnings, pack.Violation{Rule: "group-case", Path: pack.MetadataFile + "#/group",
				Message: "the group " + strconv.Quote(group) + " differs in case from " + strconv.Quote(other) + " of " + d.Name + ":" + tag + ", so it is another one",
				Mend:    "write it as the versions before do"})
			return nil
		}
	}
	return nil
}

// shortImage is an image without what is understood of itself.
func shortImage(image string) string {
	return strings.TrimPrefix(strings.TrimPrefix(image, "docker.io/"), "library/")
}
