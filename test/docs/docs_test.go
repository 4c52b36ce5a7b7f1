// Package docs checks that the documents are whole: an entry for every reason that a condition can have, and links that lead somewhere.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEveryReasonIsExplained(t *testing.T) {
	guide := read(t, "docs/troubleshooting.md")
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api/v1alpha1/conditions.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.HasPrefix(spec.Names[0].Name, "Reason") {
			reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			known[reason] = true
		}
		return true
	})
	if len(known) < 30 {
		t.Fatalf("only %d reasons were found", len(known))
	}
	explained := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?`) \\|").FindAllStringSubmatch(guide, -1) {
		for _, reason := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			explained[reason[1]] = true
			if !known[reason[1]] {
				t.Errorf("docs/troubleshooting.md explains %s, which no condition has", reason[1])
			}
		}
	}
	for reason := range known {
		if !explained[reason] {
			t.Errorf("docs/troubleshooting.md has no row for %s", reason)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	code    = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
)

// anchors are those of GitHub: lower case, spaces to hyphens, most punctuation dropped.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(strings.ReplaceAll(h[1], "`", ""))
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(name, "")
		found[strings.ReplaceAll(name, " ", "-")] = true
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for path := range strings.FieldsSeq(string(out)) {
		text := read(t, path)
		for _, l := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			if strings.Contains(l[1], ":") {
				continue // of another site
			}
			checked++
			target, anchor, _ := strings.Cut(l[1], "#")
			where := path
			if target != "" {
				where = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(filepath.Join(root, where)); err != nil {
				t.Errorf("%s links to %s, which does not exist", path, l[1])
			} else if anchor != "" && !anchors(read(t, where))[anchor] {
				t.Errorf("%s links to %s, and %s has no such heading", path, l[1], where)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links were found", checked)
	}
}
