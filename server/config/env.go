package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const envPrefix = "REGISTRY_"

// applyEnvironment lays REGISTRY_<PATH_IN_CAPITALS> variables over the file, in the order of their names, so that
// REGISTRY_AUTH chooses the kind before REGISTRY_AUTH_HTPASSWD_PATH fills it in. Indexes of lists are ordered as numbers.
func (d *decoder) applyEnvironment(root *yaml.Node, environ []string) {
	environ = slices.Clone(environ)
	slices.SortStableFunc(environ, compareVariables)
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if !ok {
			continue
		}
		rest, ok := strings.CutPrefix(name, envPrefix)
		if !ok {
			d.nearMiss(name)
			continue
		}
		if isServiceLink(name, value) || rest == "CONFIGURATION_PATH" || rest == "VERSION" {
			continue
		}
		if !utf8.ValidString(value) {
			d.fail("environment variable %s: must be text in UTF-8", name)
			continue
		}
		switch err := d.override(root, reflect.TypeFor[Config](), strings.Split(rest, "_"), value); {
		case errors.Is(err, errUnknownVariable):
			d.warn("environment variable %s: no such setting; it has no effect", name)
		case err != nil:
			d.fail("environment variable %s: %w", name, err)
		}
	}
}

// compareVariables orders NAME=value by the parts of the names, those that are numbers by their value.
func compareVariables(a, b string) int {
	nameA, _, _ := strings.Cut(a, "=")
	nameB, _, _ := strings.Cut(b, "=")
	return slices.CompareFunc(strings.Split(nameA, "_"), strings.Split(nameB, "_"), func(a, b string) int {
		i, errA := strconv.ParseUint(a, 10, 64)
		j, errB := strconv.ParseUint(b, 10, 64)
		if errA == nil && errB == nil {
			return cmp.Compare(i, j)
		}
		return cmp.Compare(a, b)
	})
}

var errUnknownVariable = errors.New("no such setting")

// isServiceLink recognises what Kubernetes injects for a Service whose name begins with "registry".
func isServiceLink(name, value string) bool {
	for _, suffix := range []string{"_SERVICE_HOST", "_SERVICE_PORT"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	if strings.Contains(name, "_SERVICE_PORT_") || strings.Contains(name, "_TCP_") || strings.HasSuffix(name, "_TCP") {
		return true
	}
	return strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// nearMiss warns about prefixes that are nearly right: a setting that is silently not made is the worst kind.
func (d *decoder) nearMiss(name string) {
	head, rest, ok := strings.Cut(name, "_")
	if ok && len(head) >= 6 && distance(head, "REGISTRY") <= 2 {
		d.warn("environment variable %s has no effect: did you mean REGISTRY_%s?", name, rest)
	}
}

// override sets the value at the path that parts spell, creating sections on the way. The type decides what a part
// means: the key of a section, the name in a map, or an index of a list.
func (d *decoder) override(n *yaml.Node, t reflect.Type, parts []string, value string) error { //nolint:gocyclo // a case for each kind of section
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	key, field, ok := fieldFor(t, parts[0])
	if !ok {
		return errUnknownVariable
	}
	ft := field.Type
	for ft.Kind() == reflect.Pointer {
		ft = ft.Elem()
	}
	child := lookup(n, key)
	rest := parts[1:]
	if len(rest) == 0 {
		return overrideWhole(n, key, child, ft, value)
	}
	switch {
	case ft.Kind() == reflect.Struct:
		child = sectionAt(n, key, child, ft)
		return d.override(child, ft, rest, value)
	case ft == reflect.TypeFor[Headers]():
		child = sectionAt(n, key, child, ft)
		v, err := parseValue(reflect.TypeFor[StringList](), value)
		if err != nil {
			return err
		}
		setHeader(child, http.CanonicalHeaderKey(strings.Join(rest, "-")), v)
		return nil
	case ft.Kind() == reflect.Map:
		child = sectionAt(n, key, child, ft)
		v, err := parseAny(value)
		if err != nil {
			return err
		}
		set(child, strings.ToLower(strings.Join(rest, "_")), v)
		return nil
	case ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct && len(rest) > 1:
		item, err := itemAt(n, key, child, rest[0], mapping())
		if err != nil {
			return err
		}
		return d.override(item, ft.Elem(), rest[1:], value)
	case ft.Kind() == reflect.Slice && len(rest) == 1:
		item, err := parseValue(ft.Elem(), value)
		if err != nil {
			return err
		}
		at, err := itemAt(n, key, child, rest[0], item)
		if err == nil {
			*at = *item
		}
		return err
	}
	return errUnknownVariable
}

// overrideWhole sets all of what is at a key, or takes it away.
func overrideWhole(n *yaml.Node, key string, child *yaml.Node, t reflect.Type, value string) error {
	v, err := parseValue(t, value)
	if err != nil {
		return err
	}
	if isKindSection(t) && v.Kind != yaml.MappingNode {
		v = chooseKind(t, child, v.Value)
	}
	if v == nil { // REGISTRY_AUTH= and REGISTRY_AUTH=none: no authentication
		remove(n, key)
		return nil
	}
	set(n, key, v)
	return nil
}

// sectionAt returns the mapping at key, made where there is none. A bare word ("storage: inmemory") becomes a mapping.
func sectionAt(n *yaml.Node, key string, child *yaml.Node, t reflect.Type) *yaml.Node {
	if child != nil && child.Kind == yaml.MappingNode {
		return child
	}
	section := mapping()
	if !isNull(child) && child.Kind == yaml.ScalarNode && isKindSection(t) {
		section = chooseKind(t, nil, child.Value)
	}
	set(n, key, section)
	return section
}

// chooseKind makes word the section's kind: settings of that kind and settings of every kind stay, other kinds go.
func chooseKind(t reflect.Type, current *yaml.Node, word string) *yaml.Node {
	if word == "" || word == "none" {
		return nil
	}
	section := mapping()
	if current != nil && current.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(current.Content); i += 2 {
			key := current.Content[i].Value
			if _, f, ok := fieldFor(t, key); ok && f.Tag.Get("kind") != "" && key != word {
				continue
			}
			section.Content = append(section.Content, current.Content[i], current.Content[i+1])
		}
	}
	if lookup(section, word) == nil {
		set(section, word, mapping())
	}
	return section
}

// isKindSection says whether one word can stand for the whole section.
func isKindSection(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("kind") != "" {
			return true
		}
	}
	return false
}

// itemAt returns the item of a list at an index; one after the last is added.
func itemAt(n *yaml.Node, key string, list *yaml.Node, index string, added *yaml.Node) (*yaml.Node, error) {
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 {
		return nil, fmt.Errorf("%s is not an index of the list", index)
	}
	items := []*yaml.Node{}
	switch {
	case isNull(list):
	case list.Kind == yaml.SequenceNode:
		items = list.Content
	default:
		items = []*yaml.Node{list}
	}
	if i > len(items) {
		return nil, fmt.Errorf("index %d of a list of %d: the first one missing is %d", i, len(items), len(items))
	}
	if i == len(items) {
		items = append(items, added)
	}
	set(n, key, &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: items})
	return items[i], nil
}

func setHeader(n *yaml.Node, name string, v *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if http.CanonicalHeaderKey(n.Content[i].Value) == name {
			n.Content[i+1] = v
			return
		}
	}
	set(n, name, v)
}

func remove(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = append(n.Content[:i:i], n.Content[i+2:]...)
			return
		}
	}
}

// quoted is a string whatever it looks like: 0123 stays 0123.
func quoted(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Style: yaml.DoubleQuotedStyle}
}

// parseValue reads a variable: as it is where the setting is a string, as YAML where it is anything else.
func parseValue(t reflect.Type, value string) (*yaml.Node, error) {
	switch {
	case t.Kind() == reflect.String:
		return quoted(value), nil
	case t.Kind() == reflect.Slice && !strings.HasPrefix(strings.TrimSpace(value), "["):
		return quoted(value), nil
	}
	return parseAny(value)
}

func parseAny(value string) (*yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(value), &document); err != nil {
		return nil, notYAML(err)
	}
	if len(document.Content) == 0 {
		return quoted(""), nil
	}
	root := document.Content[0]
	if root.Kind == yaml.AliasNode {
		return nil, errors.New("an alias cannot stand alone")
	}
	if err := expandAliases(root, 0, new(int)); err != nil {
		return nil, err
	}
	clearLines(root)
	return root, nil
}

// clearLines keeps a variable's own line numbers from being taken for the file's.
func clearLines(n *yaml.Node) {
	n.Line = 0
	for _, child := range n.Content {
		clearLines(child)
	}
}
