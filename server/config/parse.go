package config

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// defaultFile is used where no file is given; the image carries it as /etc/spectro/config.yml.
//
//go:embed default.yml
var defaultFile []byte

// Options are what Parse needs besides the file's text.
type Options struct {
	// Environ is a list of NAME=value, as os.Environ returns it.
	Environ []string
	// Lenient turns unknown keys into warnings.
	Lenient bool
}

// Load reads the file at path, or the built-in default where path is empty, with the process's environment over it.
func Load(path string, lenient bool) (*Config, []string, error) {
	text := defaultFile
	if path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, nil, fmt.Errorf("configuration: %w", err)
		}
	}
	c, warnings, err := Parse(text, Options{Environ: os.Environ(), Lenient: lenient})
	if err != nil && path != "" {
		err = fmt.Errorf("configuration %s:\n%w", path, err)
	}
	return c, warnings, err
}

// Parse turns the text of a configuration file into a complete, valid Config: the environment is applied over it, and
// defaults are filled in. The error joins everything that is wrong, one line each; warnings are for the log.
func Parse(text []byte, o Options) (*Config, []string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, nil, notYAML(err)
	}
	root := mapping()
	if len(document.Content) > 0 {
		root = document.Content[0]
	}
	if root.Kind != yaml.MappingNode {
		return nil, nil, errors.New("the file must be a mapping that begins with version: 0.1")
	}
	d := &decoder{lenient: o.Lenient}
	if err := expandAliases(root, 0, new(int)); err != nil {
		return nil, nil, err
	}
	d.applyEnvironment(root, o.Environ)
	c := &Config{}
	d.decodeRoot(root, c)
	if len(d.errs) == 0 {
		d.validate(c)
	}
	if len(d.errs) > 0 {
		return nil, d.warnings, errors.Join(d.errs...)
	}
	c.setDefaults()
	return c, d.warnings, nil
}

// Bounds on what one file may expand to: aliases let a few lines stand for billions of nodes.
const (
	maxDepth = 40
	maxNodes = 100_000
)

// expandAliases replaces each alias by what it points to, and merge keys by what they merge.
func expandAliases(n *yaml.Node, depth int, count *int) error {
	if *count++; depth > maxDepth || *count > maxNodes {
		return fmt.Errorf("line %d: nested too deeply, or aliases that expand without end", n.Line)
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!binary" {
		return fmt.Errorf("line %d: every value must be text in UTF-8, not !!binary", n.Line)
	}
	for i, child := range n.Content {
		if child.Kind == yaml.AliasNode {
			resolved := *child.Alias
			resolved.Anchor = ""
			resolved.Content = append([]*yaml.Node(nil), child.Alias.Content...)
			child = &resolved
			n.Content[i] = child
		}
		if err := expandAliases(child, depth+1, count); err != nil {
			return err
		}
	}
	if n.Kind == yaml.MappingNode {
		mergeKeys(n)
	}
	return nil
}

// mergeKeys resolves "<<": keys of the mapping itself win.
func mergeKeys(n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Value != "<<" || key.Style != 0 || value.Kind != yaml.MappingNode {
			continue
		}
		n.Content = append(n.Content[:i:i], n.Content[i+2:]...)
		for j := 0; j+1 < len(value.Content); j += 2 {
			if lookup(n, value.Content[j].Value) == nil {
				n.Content = append(n.Content, value.Content[j], value.Content[j+1])
			}
		}
		i -= 2
	}
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"} }

func scalar(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value}
}

// lookup returns the value of a key, or nil.
func lookup(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// set replaces or adds a key.
func set(n *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content[i+1] = value
			return
		}
	}
	n.Content = append(n.Content, scalar(key), value)
}

// isNull tells "key:" and "key: null" from anything else.
func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// anchor is the one message of the YAML reader that shows a value, which may be a password that begins with an asterisk.
var anchor = regexp.MustCompile(`unknown anchor '.*' referenced`)

// notYAML says why a text is no YAML, and shows none of its values.
func notYAML(err error) error {
	text := anchor.ReplaceAllLiteralString(strings.TrimPrefix(err.Error(), "yaml: "), "a value begins with *, which stands for an anchor; put it into quotes")
	return fmt.Errorf("not YAML: %s", text)
}
