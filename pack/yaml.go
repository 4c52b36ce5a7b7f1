package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template/parse"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/semaphore"
)

// Bounds on what is parsed of a pack: its files come from anybody.
const (
	// maxYAML bounds a file, in bytes, and maxNodes the values in it. Each takes some 250 bytes once it is parsed.
	maxYAML  = 4 << 20
	maxNodes = 400_000
	// maxActions bounds the actions of a template, which nest on the stack of the program.
	maxActions = 10_000
)

// parsing bounds the nodes that all files together are parsed into at one time.
var parsing = semaphore.NewWeighted(maxNodes)

// parseError is what is wrong with a file, and at which line where that is known.
type parseError struct {
	line    int
	message string
	// warning is the rule that says no more than a warning; empty where the file is wrong.
	warning string
}

func (e *parseError) Error() string { return e.message }

// estimateNodes returns no less than the number of nodes that YAML of these bytes can have: each begins a line, or follows one
// of these characters.
func estimateNodes(text []byte) int {
	n := 2
	for _, c := range text {
		switch c {
		case '\n', '\r', ':', ',', '[', '{', '-', '?':
			n++
		}
	}
	return n
}

var large = fmt.Sprintf("larger than what is read of YAML: %d bytes, some %d values", maxYAML, maxNodes)

func isLarge(text []byte, nodes int) bool { return len(text) > maxYAML || nodes > maxNodes }

// parseYAML calls use with each document of a file while its nodes may take memory.
func parseYAML(ctx context.Context, text []byte, use func(document *yaml.Node) error) error {
	nodes := estimateNodes(text)
	if isLarge(text, nodes) {
		return &parseError{message: large}
	}
	if err := parsing.Acquire(ctx, int64(nodes)); err != nil {
		return err
	}
	defer parsing.Release(int64(nodes))
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if err != nil {
			if err.Error() == "EOF" {
				return nil
			}
			return yamlError(err)
		}
		if err := use(&document); err != nil {
			return err
		}
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

func yamlError(err error) error {
	found := yamlLine.FindStringSubmatch(strings.SplitN(err.Error(), "\n", 2)[0])
	if found == nil {
		return &parseError{message: "not YAML: " + err.Error()}
	}
	line, _ := strconv.Atoi(found[1]) //nolint:errcheck // none is 0
	return &parseError{line: line, message: "not YAML: " + found[2]}
}

// mapping returns the mapping that a document must be; nil for an empty document.
func mapping(document *yaml.Node) (*yaml.Node, error) {
	node := document
	if node.Kind == yaml.DocumentNode {
		if len(node.Content) == 0 {
			return nil, nil
		}
		node = node.Content[0]
	}
	switch {
	case node.Kind == yaml.MappingNode:
		return node, nil
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return nil, nil
	}
	return nil, &parseError{line: node.Line, message: "must be a mapping (key: value), not " + kindOf(node)}
}

func kindOf(node *yaml.Node) string {
	switch node.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return "the text " + strconv.Quote(clip(node.Value, 40))
	case yaml.AliasNode:
		return "an alias"
	case yaml.MappingNode:
		return "a mapping"
	}
	return "something else"
}

// child returns the value of a mapping's key; nil where there is none.
func child(node *yaml.Node, key string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// keys returns the keys of a mapping.
func keys(node *yaml.Node) []string {
	var list []string
	if node != nil && node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			list = append(list, node.Content[i].Value)
		}
	}
	return list
}

var templateLine = regexp.MustCompile(`^template: [^:]*:([0-9]+): ?(.*)$`)

// checkTemplate says what is wrong with a Go template, whatever functions it calls. That is a warning: the braces can be those of
// something else (Prometheus, Argo), which Kubernetes takes as they are.
func checkTemplate(text string) error {
	if strings.Count(text, "{{") > maxActions || strings.Count(text, "(") > maxActions {
		return &parseError{message: fmt.Sprintf("not looked into: a template of more than %d actions", maxActions), warning: ruleUnread}
	}
	tree := parse.New("x")
	tree.Mode = parse.SkipFuncCheck
	_, err := tree.Parse(text, "", "", map[string]*parse.Tree{})
	if err == nil {
		return nil
	}
	if found := templateLine.FindStringSubmatch(err.Error()); found != nil {
		line, _ := strconv.Atoi(found[1]) //nolint:errcheck // digits
		return &parseError{line: line, message: "not a Go template: " + found[2], warning: ruleTemplate}
	}
	return &parseError{message: "not a Go template: " + err.Error(), warning: ruleTemplate}
}

// checkManifest says what is wrong with a manifest: it is YAML, or a template that becomes YAML. Kubernetes takes larger ones than
// are looked into here.
func checkManifest(ctx context.Context, text []byte) error {
	if isLarge(text, estimateNodes(text)) {
		return &parseError{message: "not looked into: " + large, warning: ruleUnread}
	}
	if bytes.Contains(text, []byte("{{")) {
		return checkTemplate(string(text))
	}
	return parseYAML(ctx, text, func(document *yaml.Node) error {
		_, err := mapping(document)
		return err
	})
}

// checkPresets says what is wrong with presets.yaml.
func checkPresets(ctx context.Context, text []byte) error {
	return parseYAML(ctx, text, func(document *yaml.Node) error {
		top, err := mapping(document)
		if top == nil || err != nil {
			return err
		}
		list := child(top, "presets")
		if list == nil || list.Kind != yaml.SequenceNode {
			return &parseError{line: top.Line, message: "must be a list under the key presets"}
		}
		names := map[string]bool{}
		for _, preset := range list.Content {
			name := child(preset, "name")
			switch {
			case preset.Kind != yaml.MappingNode:
				return &parseError{line: preset.Line, message: "a preset must be a mapping with a name, not " + kindOf(preset)}
			case name == nil || name.Kind != yaml.ScalarNode || name.Value == "":
				return &parseError{line: preset.Line, message: "a preset without a name"}
			case names[name.Value]:
				return &parseError{line: name.Line, message: fmt.Sprintf("two presets have the name %q", clip(name.Value, maxQuoted))}
			}
			names[name.Value] = true
			if add := child(preset, "add"); add != nil && add.Kind != yaml.ScalarNode {
				return &parseError{line: add.Line, message: "add must be a text (add: |), not " + kindOf(add)}
			}
			if remove := child(preset, "remove"); remove != nil && remove.Kind != yaml.SequenceNode && remove.Tag != "!!null" {
				return &parseError{line: remove.Line, message: "remove must be a list of paths, not " + kindOf(remove)}
			}
		}
		return nil
	})
}

// checkSchema says what is wrong with schema.yaml: paths of values, each with a rule.
func checkSchema(ctx context.Context, text []byte) error {
	return parseYAML(ctx, text, func(document *yaml.Node) error {
		top, err := mapping(document)
		if top == nil || err != nil {
			return err
		}
		for i := 0; i+1 < len(top.Content); i += 2 {
			rule := child(top.Content[i+1], "schema")
			if rule == nil || rule.Kind != yaml.ScalarNode {
				return &parseError{line: top.Content[i].Line, message: fmt.Sprintf("%q has no rule; write it as schema: '{{ required | format \"${string}\" }}'",
					clip(top.Content[i].Value, maxQuoted))}
			}
		}
		return nil
	})
}

// asParseError returns what is wrong with a file; ok is false for an error of reading.
func asParseError(err error) (*parseError, bool) {
	var p *parseError
	return p, errors.As(err, &p)
}
