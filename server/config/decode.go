package config

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// noEffect names sections of distribution's file that this server has no use for. They are accepted, so that an
// existing file starts, with one warning each.
var noEffect = map[string]string{
	"redis":                         "nothing is kept in Redis",
	"notifications":                 "no notifications are sent",
	"middleware":                    "there is no middleware",
	"proxy":                         "this registry is no mirror",
	"validation":                    "see packs.validation",
	"policy":                        "there are no policies",
	"loglevel":                      "use log.level",
	"log.hooks":                     "nothing is mailed",
	"log.reportcaller":              "lines do not name their caller",
	"http.secret":                   "the state of uploads lives in the storage, so replicas share no secret",
	"http.net":                      "http.addr is a TCP address",
	"http.h2c":                      "HTTP/2 is served over TLS only",
	"storage.tag":                   "tags are not looked up in parallel",
	"storage.filesystem.maxthreads": "the system bounds its own threads",
	"health.file":                   "only the storage is checked",
	"health.http":                   "only the storage is checked",
	"health.tcp":                    "only the storage is checked",
	"storage.cache.layerinfo":       "only what cannot go stale is cached",

	"storage.s3.v4auth":                      "requests are always signed with version 4",
	"storage.s3.objectacl":                   "access is governed by the bucket's policy",
	"storage.s3.multipartcopychunksize":      "nothing is copied",
	"storage.s3.multipartcopymaxconcurrency": "nothing is copied",
	"storage.s3.multipartcopythresholdsize":  "nothing is copied",
	"storage.s3.usedualstack":                "set AWS_USE_DUALSTACK_ENDPOINT=true",
	"storage.s3.usefipsendpoint":             "set AWS_USE_FIPS_ENDPOINT=true",
	"storage.s3.accelerate":                  "name the accelerated endpoint as regionendpoint",
	"storage.s3.useragent":                   "the program names itself",
	"storage.s3.loglevel":                    "see log.level",
}

// decoder walks the file's nodes and Config's type side by side, and gathers everything that is wrong instead of
// stopping at the first.
type decoder struct {
	lenient  bool
	errs     []error
	warnings []string
}

func (d *decoder) fail(format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf(format, args...))
}

func (d *decoder) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

// at names a key with its line, for messages.
func at(path string, n *yaml.Node) string {
	if n != nil && n.Line > 0 {
		return fmt.Sprintf("%s (line %d)", path, n.Line)
	}
	return path
}

func (d *decoder) decodeRoot(n *yaml.Node, c *Config) {
	d.section("", n, reflect.ValueOf(c).Elem())
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// section decodes a mapping into a struct.
func (d *decoder) section(path string, n *yaml.Node, v reflect.Value) {
	t := v.Type()
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		keyNode, valueNode := n.Content[i], n.Content[i+1]
		key := keyNode.Value
		full := join(path, key)
		if seen[key] {
			d.fail("%s: given twice", at(full, keyNode))
			continue
		}
		seen[key] = true
		name, field, ok := fieldFor(t, key)
		if !ok || name != key {
			d.unknown(full, path, key, keyNode, t)
			continue
		}
		d.value(full, valueNode, v.FieldByIndex(field.Index), field)
	}
}

func (d *decoder) unknown(full, path, key string, n *yaml.Node, t reflect.Type) {
	if why, ok := noEffect[full]; ok {
		d.warn("%s has no effect: %s", at(full, n), why)
		return
	}
	message := fmt.Sprintf("%s: unknown key", at(full, n))
	if name := nearest(key, keysOf(t)); name != "" {
		message += fmt.Sprintf("; did you mean %s?", join(path, name))
	} else {
		message += "; known here: " + strings.Join(keysOf(t), ", ")
	}
	if d.lenient {
		d.warn("%s", message)
		return
	}
	d.errs = append(d.errs, errors.New(message))
}

// value decodes one key's value. An empty value leaves the default, except where the section's presence is the point.
func (d *decoder) value(path string, n *yaml.Node, v reflect.Value, field reflect.StructField) {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		if isNull(n) && field.Tag.Get("kind") == "" {
			return
		}
		v.Set(reflect.New(t.Elem()))
		v, t = v.Elem(), t.Elem()
	}
	if isNull(n) {
		return
	}
	if isKindSection(t) && n.Kind == yaml.ScalarNode {
		if n = chooseKind(t, nil, n.Value); n == nil {
			v.SetZero()
			return
		}
	}
	shown := func() string {
		if field.Tag.Get("secret") != "" {
			return "***"
		}
		return strconv.Quote(n.Value)
	}
	switch {
	case t.Kind() == reflect.Struct:
		if n.Kind != yaml.MappingNode {
			d.fail("%s: must be a section with keys of its own (%s), not %s", at(path, n), strings.Join(keysOf(t), ", "), shown())
			return
		}
		d.section(path, n, v)
	case t == reflect.TypeFor[Headers]():
		d.headers(path, n, v)
	case t.Kind() == reflect.Map:
		d.fields(path, n, v)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		d.sections(path, n, v)
	case t.Kind() == reflect.Slice:
		if list, ok := d.list(path, n); ok {
			v.Set(reflect.ValueOf(list).Convert(t))
		}
	case n.Kind != yaml.ScalarNode:
		d.fail("%s: must be a single value", at(path, n))
	default:
		if err := setScalar(v, n.Value); err != nil {
			d.fail("%s: %s is %w", at(path, n), shown(), err)
			return
		}
		if choices := strings.Fields(field.Tag.Get("oneof")); len(choices) > 0 {
			d.choice(path, n, v, choices)
		}
	}
}

func (d *decoder) choice(path string, n *yaml.Node, v reflect.Value, choices []string) {
	for _, c := range choices {
		if strings.EqualFold(v.String(), c) {
			v.SetString(c)
			return
		}
	}
	d.fail("%s: %q is none of %s", at(path, n), n.Value, strings.Join(choices, ", "))
}

func setScalar(v reflect.Value, s string) error {
	switch {
	case v.Type() == reflect.TypeFor[Duration]():
		duration, err := time.ParseDuration(s)
		if err != nil || duration < 0 {
			return errors.New("no duration: write a number with its unit, such as 30s, 5m or 168h")
		}
		v.SetInt(int64(duration))
	case v.Kind() == reflect.String:
		v.SetString(s)
	case v.Kind() == reflect.Int:
		i, err := strconv.Atoi(s)
		if err != nil || i < 0 {
			return errors.New("no whole number of zero or more")
		}
		v.SetInt(int64(i))
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(strings.ToLower(s))
		if err != nil {
			return errors.New("neither true nor false")
		}
		v.SetBool(b)
	default:
		return fmt.Errorf("of a type (%s) that this program cannot read; this is a bug", v.Type())
	}
	return nil
}

// list accepts a list of words, or one word.
func (d *decoder) list(path string, n *yaml.Node) ([]string, bool) {
	switch n.Kind {
	case yaml.ScalarNode:
		return []string{n.Value}, true
	case yaml.SequenceNode:
		list := make([]string, 0, len(n.Content))
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				d.fail("%s: must be a single value", at(fmt.Sprintf("%s[%d]", path, i), item))
				return nil, false
			}
			list = append(list, item.Value)
		}
		return list, true
	}
	d.fail("%s: must be a list", at(path, n))
	return nil, false
}

// sections decodes a list of mappings.
func (d *decoder) sections(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fail("%s: must be a list of sections", at(path, n))
		return
	}
	items := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		full := fmt.Sprintf("%s[%d]", path, i)
		if item.Kind != yaml.MappingNode {
			d.fail("%s: must be a section with keys of its own (%s)", at(full, item), strings.Join(keysOf(v.Type().Elem()), ", "))
			continue
		}
		d.section(full, item, items.Index(i))
	}
	v.Set(items)
}

func (d *decoder) headers(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fail("%s: must map header names to lists of values", at(path, n))
		return
	}
	headers := Headers{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		full := join(path, name)
		if !validHeaderName(name) {
			d.fail("%s: not a header's name", at(full, n.Content[i]))
			continue
		}
		list := StringList{}
		if !isNull(n.Content[i+1]) {
			words, ok := d.list(full, n.Content[i+1])
			if !ok {
				continue
			}
			list = words
		}
		for _, value := range list {
			if strings.ContainsAny(value, "\r\n\x00") {
				d.fail("%s: a header's value is one line", at(full, n.Content[i+1]))
			}
		}
		canonical := http.CanonicalHeaderKey(name)
		if _, twice := headers[canonical]; twice {
			d.fail("%s: given twice, in different spelling", at(full, n.Content[i]))
		}
		headers[canonical] = list
	}
	v.Set(reflect.ValueOf(headers))
}

// fields decodes log.fields, whose values may be anything.
func (d *decoder) fields(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fail("%s: must map names to values", at(path, n))
		return
	}
	m := map[string]any{}
	if err := n.Decode(&m); err != nil {
		d.fail("%s: %s", at(path, n), strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	v.Set(reflect.ValueOf(m))
}

// validHeaderName is RFC 9110's token.
func validHeaderName(name string) bool {
	if name == "" {
		return false
	}
	for _, r := range name {
		if r > 126 || r <= ' ' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) {
			return false
		}
	}
	return true
}

// keyOf is the name that a field has in the file.
func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// fieldFor finds the field with that key; variables spell keys in capitals.
func fieldFor(t reflect.Type, key string) (string, reflect.StructField, bool) {
	if t.Kind() != reflect.Struct {
		return "", reflect.StructField{}, false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if name := keyOf(f); name == key || strings.ToUpper(name) == key {
			return name, f, true
		}
	}
	return "", reflect.StructField{}, false
}

func keysOf(t reflect.Type) []string {
	keys := make([]string, 0, t.NumField())
	for i := range t.NumField() {
		keys = append(keys, keyOf(t.Field(i)))
	}
	return keys
}
