package pack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // logos come in these forms
	_ "image/jpeg"
	_ "image/png"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/semver"
)

const (
	presetsFile = "presets.yaml"
	schemaFile  = "schema.yaml"
	// ruleUnread and ruleTemplate warn of what was not looked into, and of what is no template of Go.
	ruleUnread   = "unread"
	ruleTemplate = "template"
	// maxLogo is what a logo should take at most, in bytes.
	maxLogo = 100 << 10
	// maxInspected bounds the files that are looked into beside those with a meaning of their own: which of them pack.json names
	// is not known before it is read, and it may come last.
	maxInspected = 1000
	// maxUnpacked bounds what the charts of a pack unpack to together, in bytes.
	maxUnpacked = 256 << 20
)

// contents looks into the files of a pack, from a directory or from an archive, and keeps what it finds of each.
type contents struct {
	ctx   context.Context //nolint:containedctx // it lives as long as the reading of one pack
	files map[string]*content
	// leftOut are files that are no part of the pack.
	leftOut []string
	looked  int
	// unpacked is how many bytes charts have unpacked to.
	unpacked int64
}

// content is what was found in a file.
type content struct {
	chart    *chart
	manifest *parseError // of a file that can be a manifest
	// unread says that it was not looked into.
	unread bool
}

func newContents(ctx context.Context) *contents {
	return &contents{ctx: ctx, files: map[string]*content{}}
}

// leaveOut says whether a file is what systems leave behind, and not the pack's. Case does not count: some systems take names that
// differ in it for one.
func leaveOut(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.EqualFold(part, "__MACOSX") || strings.EqualFold(part, ".DS_Store") || strings.HasPrefix(part, "._") {
			return true
		}
	}
	return false
}

// add looks into a file that has no meaning of its own, as far as pack.json may name it.
func (c *contents) add(name string, r io.Reader) error {
	found := &content{}
	buffered := make([]byte, 2)
	n, err := io.ReadFull(r, buffered)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	r = io.MultiReader(bytes.NewReader(buffered[:n]), r)
	isGzip := n == 2 && buffered[0] == 0x1f && buffered[1] == 0x8b
	ending := path.Ext(name)
	if !isGzip && ending != ".yaml" && ending != ".yml" && ending != ".json" && ending != ".tgz" && !strings.HasPrefix(name, "manifests/") {
		return nil
	}
	if strings.Contains(name, "/templates/") || strings.Contains(name, "/crds/") { // of a chart that lies unpacked beside its archive
		return nil
	}
	c.files[name] = found
	if c.looked++; c.looked > maxInspected || c.unpacked > maxUnpacked {
		found.unread = true
		return nil
	}
	if isGzip || ending == ".tgz" {
		chart, size, err := readChart(c.ctx, r)
		found.chart = &chart
		c.unpacked += size
		return err
	}
	text, err := io.ReadAll(io.LimitReader(r, maxYAML+1))
	if err != nil {
		return err
	}
	err = checkManifest(c.ctx, text)
	if p, wrong := asParseError(err); wrong {
		found.manifest = p
		return nil
	}
	return err
}

// check returns what is wrong with the contents of a pack, and what could be better. browsable are the files that have a
// meaning of their own, and folder says whether a name is that of a directory.
func (c *contents) check(m Metadata, browsable map[string][]byte, exists func(string) bool, folder func(string) bool) (violations, warnings []Violation, err error) {
	report := &report{}
	for i, file := range m.Charts {
		c.checkChart(report, fmt.Sprintf("%s#/charts/%d", MetadataFile, i), path.Clean(file), folder)
	}
	for i, file := range m.KubeManifests {
		c.checkManifest(report, fmt.Sprintf("%s#/kubeManifests/%d", MetadataFile, i), path.Clean(file), folder)
	}
	for name, check := range map[string]func(context.Context, []byte) error{presetsFile: checkPresets, schemaFile: checkSchema} {
		if text, ok := browsable[name]; ok {
			if err := report.parse(name, check(c.ctx, text)); err != nil {
				return nil, nil, err
			}
		}
	}
	if text, ok := browsable[ValuesFile]; ok {
		if err := report.parse(ValuesFile, c.checkValues(report, m, text)); err != nil {
			return nil, nil, err
		}
	}
	c.checkLogo(report, browsable)
	c.checkMetadata(report, m, exists)
	locate(browsable[MetadataFile], report.warnings)
	sortViolations(report.warnings)
	return report.violations, report.warnings, nil
}

func (c *contents) checkChart(r *report, place, file string, folder func(string) bool) {
	found := c.files[file]
	switch {
	case folder(file):
		r.refuse("chart", place, 0, "name a chart's archive; make it with: helm package DIR", "%q is a folder", file)
	case found == nil: // it is missing, which is said already, or has another form
	case found.unread:
		r.warn(ruleUnread, file, 0, "", "not looked into: the pack has more than %d files that can be charts or manifests, or charts of more than %d bytes", maxInspected, maxUnpacked)
	case found.chart == nil:
		r.refuse("chart", file, 0, "make it with: helm package DIR", "not a gzip archive, so no chart")
	case found.chart.err != nil:
		r.refuse("chart", file, 0, "", "%s", found.chart.err.message)
	default:
		if claimed := found.chart.otherVersion(file); claimed != "" {
			r.warn("chart-version", file, 0, "take the right chart, or rename the file", "the name says version %s, its Chart.yaml says %s", claimed, found.chart.version)
		}
	}
}

func (c *contents) checkManifest(r *report, place, file string, folder func(string) bool) {
	found := c.files[file]
	switch {
	case folder(file):
		r.refuse("manifest", place, 0, "name each file in it", "%q is a folder", file)
	case found == nil:
	case found.unread:
		r.warn(ruleUnread, file, 0, "", "not looked into: the pack has more than %d files that can be charts or manifests, or charts of more than %d bytes", maxInspected, maxUnpacked)
	case found.chart != nil:
		r.refuse("manifest", file, 0, "name it under charts", "a gzip archive, so no manifest")
	case found.manifest != nil && found.manifest.warning == ruleTemplate:
		r.warn(ruleTemplate, file, found.manifest.line, "leave it where the braces are for something else", "%s", found.manifest.message)
	case found.manifest != nil && found.manifest.warning != "":
		r.warn(found.manifest.warning, file, found.manifest.line, "", "%s", found.manifest.message)
	case found.manifest != nil:
		r.refuse("manifest", file, found.manifest.line, "", "%s", found.manifest.message)
	}
}

// checkValues looks into values.yaml: chart values must lie where consoles hand them to the charts.
func (c *contents) checkValues(r *report, m Metadata, text []byte) error {
	documents := 0
	return parseYAML(c.ctx, text, func(document *yaml.Node) error {
		if documents++; documents > 1 {
			return &parseError{line: document.Line, message: "more than one document"}
		}
		top, err := mapping(document)
		if err != nil {
			return err
		}
		c.checkWiring(r, m, top)
		images := child(child(child(top, "pack"), "content"), "images")
		if len(m.Charts)+len(m.KubeManifests) > 0 && (images == nil || len(images.Content) == 0) {
			r.warn("images", ValuesFile, 0, "list them as - image: NAME:TAG", "no pack.content.images: where there is no internet nobody can tell which images to bring")
		}
		return nil
	})
}

func (c *contents) checkWiring(r *report, m Metadata, top *yaml.Node) {
	charts := child(top, "charts")
	if charts != nil && charts.Kind != yaml.MappingNode && charts.Tag != "!!null" {
		r.warn("unwired", ValuesFile, charts.Line, "", "charts must be a mapping of charts' names, not %s", kindOf(charts))
		return
	}
	others := slices.DeleteFunc(keys(top), func(key string) bool { return key == "pack" || key == "manifests" || key == "charts" })
	var names []string
	for _, file := range m.Charts {
		if found := c.files[path.Clean(file)]; found != nil && found.chart != nil && found.chart.err == nil {
			names = append(names, found.chart.name)
		}
	}
	strangers := slices.DeleteFunc(keys(charts), func(key string) bool { return slices.Contains(names, key) })
	for _, name := range names {
		if child(charts, name) != nil || len(others)+len(strangers) == 0 {
			continue
		}
		where := "the keys " + quoted(others)
		line := 0
		if len(strangers) > 0 {
			where, line = "charts has "+quoted(strangers), charts.Line
		}
		r.warn("unwired", ValuesFile, line, "put its values under charts."+clip(name, maxQuoted), "the chart %s has no values under charts.%s (%s), so overrides reach nothing",
			name, name, where)
	}
}

func quoted(names []string) string {
	list := make([]string, min(len(names), 5))
	for i := range list {
		list[i] = strconv.Quote(clip(names[i], 40))
	}
	return strings.Join(list, ", ")
}

func (c *contents) checkLogo(r *report, browsable map[string][]byte) {
	found := false
	for name, data := range browsable {
		if path.Ext(name) == ".md" || !strings.HasPrefix(name, "logo.") {
			continue
		}
		found = true
		config, _, err := image.DecodeConfig(bytes.NewReader(data))
		if err != nil {
			head := strings.ToLower(string(data[:min(len(data), 1024)]))
			if strings.Contains(head, "<svg") || strings.HasPrefix(head, "riff") && strings.HasPrefix(head[min(8, len(head)):], "webp") {
				continue
			}
			r.refuse("logo", name, 0, "use a PNG", "no image")
			continue
		}
		if config.Width != config.Height {
			r.warn("logo-square", name, 0, "", "%d by %d pixels; consoles show squares", config.Width, config.Height)
		}
		if len(data) > maxLogo {
			r.warn("logo-size", name, 0, "", "%d KiB; every list shows it, so keep it below %d KiB", len(data)>>10, maxLogo>>10)
		}
	}
	if !found {
		r.warn("logo-missing", LogoFile, 0, "", "missing; consoles show a blank")
	}
}

func (c *contents) checkMetadata(r *report, m Metadata, exists func(string) bool) {
	if !exists(ReadmeFile) {
		r.warn("readme", ReadmeFile, 0, "", "missing; consoles show it to who chooses a pack")
	}
	if m.Annotations["source"] == "" {
		r.warn("source", MetadataFile+"#/annotations", 0, `add "annotations": {"source": "community"}`, "no annotation source, by which consoles filter")
	}
	if v := "v" + m.Version; m.Version != "" && (!semver.IsValid(v) || strings.Count(semver.Canonical(v), ".") < 2 || semver.Canonical(v) != v && semver.Canonical(v)+semver.Build(v) != v) {
		r.warn("semver", MetadataFile+"#/version", 0, "use three numbers, such as 1.2.3", "%q is not a semantic version", clip(m.Version, maxQuoted))
	}
	for i, name := range c.leftOut {
		if i == 5 {
			r.warn("left-out", "", 0, "", "%d more were left out", len(c.leftOut)-i)
			break
		}
		r.warn("left-out", name, 0, "", "left out: a system's own file")
	}
}

// report collects what is wrong with a pack.
type report struct{ violations, warnings []Violation }

func (r *report) refuse(rule, path string, line int, mend, format string, args ...any) {
	r.violations = append(r.violations, Violation{Rule: rule, Path: clip(path, maxQuoted), Line: line, Message: fmt.Sprintf(format, args...), Mend: mend})
}

func (r *report) warn(rule, path string, line int, mend, format string, args ...any) {
	r.warnings = append(r.warnings, Violation{Rule: rule, Path: clip(path, maxQuoted), Line: line, Message: fmt.Sprintf(format, args...), Mend: mend})
}

// parse adds what is wrong with a file's form, and returns any other error.
func (r *report) parse(name string, err error) error {
	if p, wrong := asParseError(err); wrong {
		r.refuse(strings.TrimSuffix(name, ".yaml"), name, p.line, "", "%s", p.message)
		return nil
	}
	return err
}

// locate finds the lines of what is wrong in pack.json.
func locate(text []byte, list []Violation) {
	wanted := map[string][]int{}
	for i, v := range list {
		if pointer, ok := strings.CutPrefix(v.Path, MetadataFile+"#"); ok {
			wanted[pointer] = append(wanted[pointer], i)
		}
	}
	if len(wanted) == 0 {
		return
	}
	values := 0
	walkJSON(text, func(pointer string, offset int) bool {
		for _, i := range wanted[pointer] {
			list[i].Line = 1 + bytes.Count(text[:offset], []byte("\n"))
		}
		values++
		return values < metadataLimits.Values // a text of more was refused, and has no lines that matter
	})
}

// walkJSON calls visit with the pointer of each value, and where it ends or, for an object or a list, begins; until it returns false.
func walkJSON(text []byte, visit func(pointer string, offset int) bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	var value func(pointer string) error
	value = func(pointer string) error {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		if !visit(pointer, int(decoder.InputOffset())) {
			return errStop
		}
		open, ok := token.(json.Delim)
		if !ok {
			return nil
		}
		for i := 0; decoder.More(); i++ {
			key := strconv.Itoa(i)
			if open == '{' {
				name, err := decoder.Token()
				if err != nil {
					return err
				}
				key, _ = name.(string) //nolint:errcheck // keys are strings
			}
			if err := value(pointer + "/" + key); err != nil {
				return err
			}
		}
		_, err = decoder.Token()
		return err
	}
	value("") //nolint:errcheck // what cannot be read has no lines
}
