// Package imports holds the arrows between this repository's packages, which point one way: commands know the operator or the server, those
// know what lies below them, and nothing knows what lies above.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "packregistry.dev"

// allowed is which packages of this repository a package may import. The first row that fits a package holds. The linter's
// depguard rules in .golangci.yml say the same of the longest arrows, in an editor already.
var allowed = []struct{ packages, imports string }{
	{"cmd/operator", "api/... controllers/... internal/..."},
	{"cmd/registry", "server server/config server/store internal/..."},
	{"cmd/packctl", "client pack internal/..."},
	{"api/...", "api/..."},
	{"controllers/...", "api/... controllers/... server/config internal/..."},
	{"server", "pack server/... internal/..."},
	{"server/config", "internal/..."},
	{"server/config/internal/...", "server/config"},
	{"server/ui/...", "pack server/ui/... internal/..."},
	{"server/auth", "server/config server/internal/... internal/..."},
	{"server/store/...", "server/store/... server/internal/... internal/..."},
	{"server/internal/pages", "pack server/auth server/config server/store server/internal/... server/ui"},
	{"server/internal/...", "pack server/auth server/config server/store/... server/internal/... internal/..."},
	{"client", "pack internal/..."},
	{"pack", "internal/..."},
	{"internal/testregistry", "server/... internal/..."}, // for tests alone
	{"internal/...", "internal/..."},
	{"hack/...", "api/... controllers/... internal/..."},
	{"test/...", "api/... internal/..."},
}

// forbidden are modules that a package must not depend on, however indirectly.
var forbidden = []struct{ packages, modules, why string }{
	{"server/...", "k8s.io/ sigs.k8s.io/", "the server never imports Kubernetes"},
	{"pack", "k8s.io/ sigs.k8s.io/ " + module + "/server", "the format knows nobody who uses it"},
	{"cmd/registry", "google.golang.org/grpc", "gRPC is a third of the program more, for traces alone"},
}

type listed struct {
	ImportPath    string
	Imports, Deps []string
}

// list returns every package of this module.
func list(t *testing.T) []listed {
	t.Helper()
	// The result of a test is kept until a file changes that it has looked at. What the go command looks at does not count.
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == ".git" || d.Name() == "testdata"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go") || d.Name() == "go.mod":
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// fits says whether a path is one of patterns, which are written as go's: a/... is a and everything below.
func fits(path, patterns string) bool {
	for pattern := range strings.FieldsSeq(patterns) {
		below, tree := strings.CutSuffix(pattern, "/...")
		if path == pattern || tree && (path == below || strings.HasPrefix(path, below+"/")) {
			return true
		}
	}
	return false
}

// first is the first of some packages that lies in one of modules.
func first(packages []string, modules string) string {
	for _, p := range packages {
		for prefix := range strings.FieldsSeq(modules) {
			if strings.HasPrefix(p, prefix) {
				return p
			}
		}
	}
	return ""
}

func TestArrowsPointOneWay(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		known := false
		for _, row := range allowed {
			if known = fits(path, row.packages); !known {
				continue
			}
			for _, imported := range p.Imports {
				if ours, ok := strings.CutPrefix(imported, module+"/"); ok && !fits(ours, row.imports) {
					t.Errorf("%s imports %s; it may import: %s", path, ours, row.imports)
				}
			}
			break
		}
		if !known {
			t.Errorf("%s: no row says what it may import; add one", path)
		}
		for _, row := range forbidden {
			if !fits(path, row.packages) {
				continue
			}
			if d := first(p.Deps, row.modules); d != "" {
				t.Errorf("%s depends on %s: %s", path, d, row.why)
			}
		}
	}
}

// maxServerLines bounds package server, which puts the API together: what has a job of its own is a package below server/internal.
const maxServerLines = 3_000

func TestPackageServerStaysSmall(t *testing.T) {
	files, err := filepath.Glob("../../server/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of package server: %v", len(files), err)
	}
	lines := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(text, []byte("\n"))
	}
	if lines > maxServerLines {
		t.Errorf("package server has %d lines; %d are the most: move what is not the API's own into a package below server/internal", lines, maxServerLines)
	}
}
