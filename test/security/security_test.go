// Package security holds SECURITY.md to what it says.
package security

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// bounds returns the rows of the table of bounds.
func bounds(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Bounds\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var rows [][]string
	for line := range strings.Lines(section) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|---") {
			rows = append(rows, strings.Split(strings.Trim(line, "|"), "|"))
		}
	}
	if len(rows) < 2 {
		t.Fatal("there is no table")
	}
	return rows[1:]
}

// tests returns the names of all tests and fuzz targets.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "bin", "testdata"}, entry.Name()) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Every bound is held by a test that there is, and every fuzz target but those of tests' own helpers is named.
func TestEveryBoundIsHeldByATest(t *testing.T) {
	all, named := tests(t), regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	for _, row := range bounds(t) {
		if len(row) != 7 {
			t.Errorf("a row of %d columns: %s", len(row), row[0])
			continue
		}
		holders := named.FindAllStringSubmatch(row[6], -1)
		if len(holders) == 0 {
			t.Errorf("%s: no test is named", row[0])
		}
		for _, holder := range holders {
			if !all[holder[1]] {
				t.Errorf("%s: there is no test %s", row[0], holder[1])
			}
		}
		if strings.TrimSpace(strings.Join(row[1:6], "")) == "" {
			t.Errorf("%s: nothing is bounded", row[0])
		}
	}
}

// Every parser's fuzz target measures what it costs.
func TestFuzzTargetsMeasure(t *testing.T) {
	target := regexp.MustCompile(`(?s)\nfunc (Fuzz\w+)\(.*?\n}\n`)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range target.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(m[0], "testfuzz.Proportionate(") {
				t.Errorf("%s: %s does not call testfuzz.Proportionate", path, m[1])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
