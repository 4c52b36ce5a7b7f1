package values

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Rule is what schema.yaml asks of a key.
type Rule struct {
	Required, ReadOnly bool
	// Text says the rest: the form of the value, and the hints.
	Text string
}

// maxRule is how much is shown of what a rule says, in bytes.
const maxRule = 400

// Rules returns what a schema.yaml asks of keys, by the line in values.yaml where each is, and how many of the keys are not there.
func Rules(schema, text []byte) (byLine map[int]Rule, absent int) {
	rules, err := parse(schema)
	if err != nil || rules.Kind != yaml.MappingNode {
		return nil, 0
	}
	root, err := parse(text)
	if err != nil {
		return nil, 0
	}
	byLine = map[int]Rule{}
	for i := 0; i+1 < len(rules.Content); i += 2 {
		expression := child(rules.Content[i+1], "schema")
		if expression == nil {
			continue
		}
		if line := lineOf(root, rules.Content[i].Value); line > 0 {
			byLine[line] = parseRule(expression.Value)
		} else {
			absent++
		}
	}
	return byLine, absent
}

// lineOf finds the line of the key that a dotted path names; keys may hold dots themselves. In a list it is that of the first item's.
func lineOf(n *yaml.Node, path string) int {
	if rest, ok := strings.CutPrefix(path, "$[]"); ok {
		if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
			return 0
		}
		if rest == "" {
			return n.Content[0].Line
		}
		return lineOf(n.Content[0], strings.TrimPrefix(rest, "."))
	}
	if n.Kind != yaml.MappingNode {
		return 0
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		rest, ok := strings.CutPrefix(path, n.Content[i].Value)
		switch {
		case !ok:
		case rest == "":
			return n.Content[i].Line
		case rest[0] == '.' || rest[0] == '[':
			if line := lineOf(n.Content[i+1], strings.TrimPrefix(rest, ".")); line > 0 {
				return line
			}
		}
	}
	return 0
}

// rulePart is a word of a rule's expression, with the quoted strings after it.
var rulePart = regexp.MustCompile(`(required|readonly|format|hints)((?:\s+"[^"]*")*)`)

var quoted = regexp.MustCompile(`"([^"]*)"`)

// parseRule reads an expression of the form {{ required | format "${string}" | hints "a" }}.
func parseRule(expression string) Rule {
	var r Rule
	var kind string
	var hints []string
	if len(expression) > 4*maxRule {
		expression = expression[:4*maxRule]
	}
	for _, m := range rulePart.FindAllStringSubmatch(expression, -1) {
		var words []string
		for _, q := range quoted.FindAllStringSubmatch(m[2], -1) {
			words = append(words, q[1])
		}
		switch m[1] {
		case "required":
			r.Required = true
		case "readonly":
			r.ReadOnly = true
		case "format":
			kind = describe(strings.Join(words, " "))
		case "hints":
			for _, w := range words {
				if w = strings.TrimSpace(w); w != "" {
					hints = append(hints, strings.TrimRight(w, ".")+".")
				}
			}
		}
	}
	r.Text = strings.Join(append([]string{}, hints...), " ")
	switch {
	case kind != "" && r.Required:
		r.Text = ", " + kind + ". " + r.Text
	case kind != "":
		r.Text = strings.ToUpper(kind[:1]) + kind[1:] + ". " + r.Text
	case r.Required || r.ReadOnly:
		r.Text = ". " + r.Text
	}
	if r.Text = strings.TrimSpace(strings.ToValidUTF8(r.Text, "")); len(r.Text) > maxRule {
		r.Text = strings.ToValidUTF8(r.Text[:maxRule], "") + "…"
	}
	return r
}

// form is one of the forms that a value can have, with what it is restricted to.
var form = regexp.MustCompile(`^\$\{(\w+)(?::(.*))?\}$`)

// describe says in words which form a value has.
func describe(format string) string {
	m := form.FindStringSubmatch(format)
	if m == nil || strings.Count(format, "${") > 1 {
		if format == "" {
			return ""
		}
		return "of the form " + strings.NewReplacer("${", "", "}", "").Replace(format)
	}
	limit := strings.TrimSpace(m[2])
	inner := strings.Trim(limit, "[]")
	switch {
	case limit == "":
	case strings.HasPrefix(limit, "/"):
		return m[1] + " that matches " + limit
	case m[1] == "number" && strings.Contains(inner, "-"):
		low, high, _ := strings.Cut(inner, "-")
		return "number from " + low + " to " + high
	default:
		return "one of " + strings.Join(strings.FieldsFunc(inner, func(r rune) bool { return r == ',' || r == '|' }), ", ")
	}
	switch m[1] {
	case "string":
		return ""
	case "boolean":
		return "true or false"
	case "ipv4":
		return "IPv4 address"
	}
	return m[1]
}
