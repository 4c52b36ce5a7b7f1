package values

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Preset is a change to the values that a user can choose.
type Preset struct {
	Name        string   `yaml:"name"`
	DisplayName string   `yaml:"displayName"`
	Group       string   `yaml:"group"`
	Remove      []string `yaml:"remove"`
	Add         string   `yaml:"add"`
}

// maxPresets is how many presets are offered.
const maxPresets = 100

// Presets reads a presets.yaml.
func Presets(text []byte) ([]Preset, error) {
	root, err := parse(text)
	if err != nil {
		return nil, err
	}
	var file struct {
		Presets []Preset `yaml:"presets"`
	}
	if err := root.Decode(&file); err != nil {
		return nil, errors.New("presets.yaml is not as presets are written")
	}
	for i := range file.Presets {
		if file.Presets[i].DisplayName == "" {
			file.Presets[i].DisplayName = file.Presets[i].Name
		}
	}
	return file.Presets[:min(len(file.Presets), maxPresets)], nil
}

// enabledComment begins the comment that says which presets values have.
const enabledComment = "# spectrocloud.com/enabled-presets:"

// Enabled returns which presets values have already, by group.
func Enabled(text string) map[string]string {
	enabled := map[string]string{}
	for line := range strings.Lines(text[:min(len(text), 4<<10)]) {
		list, ok := strings.CutPrefix(strings.TrimSpace(line), enabledComment)
		if !ok {
			continue
		}
		for entry := range strings.SplitSeq(list, ",") {
			if group, name, ok := strings.Cut(strings.TrimSpace(entry), ":"); ok {
				enabled[group] = name
			}
		}
		break
	}
	return enabled
}

// Apply changes the values as presets say. Lines that no preset concerns stay as they are, with their comments.
func Apply(text string, chosen []Preset) (string, error) {
	for _, p := range chosen {
		for _, path := range p.Remove {
			var err error
			if text, err = remove(text, path); err != nil {
				return "", err
			}
		}
		var err error
		if text, err = merge(text, p.Add); err != nil {
			return "", err
		}
	}
	return recordEnabled(text, chosen), nil
}

// recordEnabled writes down at the top which presets the values have.
func recordEnabled(text string, chosen []Preset) string {
	enabled := Enabled(text)
	for _, p := range chosen {
		enabled[p.Group] = p.Name
	}
	var list []string
	for group, name := range enabled {
		list = append(list, group+":"+name)
	}
	slices.Sort(list)
	line := enabledComment + " " + strings.Join(list, ",") + "\n"
	lines := slices.Collect(strings.Lines(text))
	for i, l := range lines {
		if strings.HasPrefix(strings.TrimSpace(l), enabledComment) {
			lines[i] = line
			return strings.Join(lines, "")
		}
	}
	return line + "\n" + text
}

// document is values as lines, with the tree that they were parsed into.
type document struct {
	lines []string
	root  *yaml.Node
}

func open(text string) (*document, error) {
	root, err := parse([]byte(text))
	if err != nil {
		return nil, err
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return &document{slices.Collect(strings.Lines(text)), root}, nil
}

// end returns the line after the last one of a key, whose mapping ends before the line that bounds it.
func (d *document) end(mapping *yaml.Node, key, bound int) int {
	end := bound
	if key+2 < len(mapping.Content) {
		end = min(bound, mapping.Content[key+2].Line)
	}
	column := mapping.Content[key].Column
	for end > mapping.Content[key].Line+1 { // comments and empty lines before the next key are that one's
		line := d.lines[end-2]
		text := strings.TrimLeft(line, " ")
		indent := len(line) - len(text)
		if strings.TrimSpace(text) != "" && (!strings.HasPrefix(text, "#") || indent >= column) {
			break
		}
		end--
	}
	return end
}

// remove takes the key away that a dotted path names.
func remove(text, path string) (string, error) {
	d, err := open(text)
	if err != nil {
		return "", err
	}
	if begin, end, ok := d.find(d.root, path, len(d.lines)+1); ok {
		d.lines = slices.Delete(d.lines, begin-1, end-1)
	}
	return strings.Join(d.lines, ""), nil
}

// find returns the lines of the key that a dotted path names.
func (d *document) find(n *yaml.Node, path string, bound int) (begin, end int, ok bool) {
	if n.Kind != yaml.MappingNode || n.Style&yaml.FlowStyle != 0 {
		return 0, 0, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		rest, has := strings.CutPrefix(path, n.Content[i].Value)
		end := d.end(n, i, bound)
		switch {
		case !has:
		case rest == "":
			return n.Content[i].Line, end, true
		case rest[0] == '.':
			if begin, end, ok := d.find(n.Content[i+1], rest[1:], end); ok {
				return begin, end, true
			}
		}
	}
	return 0, 0, false
}

// change is lines to put in place of others.
type change struct {
	begin, end int
	lines      []string
}

// merge lays values over others, mappings into mappings.
func merge(text, add string) (string, error) {
	if strings.TrimSpace(add) == "" {
		return text, nil
	}
	from, err := open(add)
	if err != nil {
		return "", err
	}
	to, err := open(text)
	if err != nil {
		return "", err
	}
	if from.root.Kind != yaml.MappingNode || to.root.Kind != yaml.MappingNode {
		return "", errors.New("the preset's values are no mapping")
	}
	var changes []change
	if len(to.root.Content) == 0 {
		to.lines = append(to.lines, from.lines...)
		return strings.Join(to.lines, ""), nil
	}
	if !to.lay(from, to.root, from.root, len(to.lines)+1, len(from.lines)+1, &changes) {
		return "", errors.New("the values are written in a way that presets cannot be applied to here")
	}
	slices.Reverse(changes) // from the end, so that lines keep their numbers
	slices.SortStableFunc(changes, func(a, b change) int { return b.begin - a.begin })
	for _, c := range changes {
		to.lines = slices.Replace(to.lines, c.begin-1, c.end-1, c.lines...)
	}
	return strings.Join(to.lines, ""), nil
}

// lay collects the changes that put a mapping over another, and says whether it can.
func (d *document) lay(from *document, to, add *yaml.Node, toBound, addBound int, changes *[]change) bool {
	if to.Style&yaml.FlowStyle != 0 || add.Style&yaml.FlowStyle != 0 {
		return false
	}
	for i := 0; i+1 < len(add.Content); i += 2 {
		key, value := add.Content[i], add.Content[i+1]
		end := from.end(add, i, addBound)
		at := indexOf(to, key.Value)
		if at < 0 {
			last := d.end(to, len(to.Content)-2, toBound)
			*changes = append(*changes, change{last, last, reindent(from.lines[key.Line-1:end-1], to.Content[0].Column-key.Column)})
			continue
		}
		there, bound := to.Content[at+1], d.end(to, at, toBound)
		if there.Kind == yaml.MappingNode && value.Kind == yaml.MappingNode && len(there.Content) > 0 && there.Style&yaml.FlowStyle == 0 {
			if !d.lay(from, there, value, bound, end, changes) {
				return false
			}
			continue
		}
		if added := reindent(from.lines[key.Line-1:end-1], to.Content[at].Column-key.Column); !slices.Equal(added, d.lines[to.Content[at].Line-1:bound-1]) {
			*changes = append(*changes, change{to.Content[at].Line, bound, added})
		}
	}
	return true
}

func indexOf(mapping *yaml.Node, name string) int {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return i
		}
	}
	return -1
}

// reindent moves lines to the right or left.
func reindent(lines []string, by int) []string {
	moved := make([]string, len(lines))
	for i, line := range lines {
		switch {
		case strings.TrimSpace(line) == "":
			moved[i] = line
		case by >= 0:
			moved[i] = strings.Repeat(" ", by) + line
		default:
			space := len(line) - len(strings.TrimLeft(line, " "))
			moved[i] = line[min(-by, space):]
		}
	}
	return moved
}
