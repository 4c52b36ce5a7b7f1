// Package values reads what a pack says of its values: the images that it lists, the presets that change it, and the rules that its keys
// must keep. Files come from anybody: what is too large to be parsed, or is no YAML, is reported instead of parsed.
package values

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds on what is parsed.
const (
	// maxSize is in bytes.
	maxSize = 512 << 10
	// maxDepth is how deep values may nest. maxNodes is how many values there may be.
	maxDepth = 50
	maxNodes = 40_000
	// maxImages is how many images are listed.
	maxImages = 2000
)

var errTooLarge = errors.New("the file is too large or too deep to be taken apart here")

// parse reads the first document of a file.
func parse(text []byte) (*yaml.Node, error) {
	if len(text) > maxSize || separators(text) > maxNodes {
		return nil, errTooLarge
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, errors.New("the file is not valid YAML")
	}
	if len(document.Content) == 0 {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	}
	if tooDeep(document.Content[0], 0) {
		return nil, errTooLarge
	}
	return document.Content[0], nil
}

// separators is no less than the number of values that YAML of these bytes can have.
func separators(text []byte) int {
	n := 1
	for _, c := range text {
		if bytes.IndexByte([]byte("\n:,[{-?"), c) >= 0 {
			n++
		}
	}
	return n
}

func tooDeep(n *yaml.Node, depth int) bool {
	return depth > maxDepth || slices.ContainsFunc(n.Content, func(child *yaml.Node) bool { return tooDeep(child, depth+1) })
}

// child returns a value of a mapping, or nil.
func child(n *yaml.Node, name string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// Images returns the images that values list under pack.content.images, or why it cannot.
func Images(text []byte) (images []string, why string) {
	root, err := parse(text)
	if err != nil {
		return nil, err.Error()
	}
	at := root
	for _, name := range []string{"pack", "content", "images"} {
		at = child(at, name)
	}
	if at == nil {
		return nil, ""
	}
	for _, item := range at.Content {
		if image := child(item, "image"); image != nil && image.Kind == yaml.ScalarNode && len(images) < maxImages {
			images = append(images, strings.TrimSpace(image.Value))
		}
	}
	return images, ""
}
