// Package readme makes HTML of a pack's README that is safe to show on the registry's pages, whoever wrote the README.
//
// goldmark renders Markdown without raw HTML; transform.go changes its tree: headings go below the page's, links and images lead to the
// pack's own files or are made plain links. Then bluemonday takes away every element and attribute that is not on a list (policy.go). The
// list is the guard: a fuzz test parses what comes out and holds it against a list of its own.
package readme

import (
	"bytes"
	"html/template"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// MaxSize is how large a README may be to be rendered, in bytes. bounds.go has the other bounds. What exceeds one is shown as text.
const MaxSize = 512 << 10

// Options says where a README is shown.
type Options struct {
	// Title is the heading of the page; a first heading that repeats it is left out.
	Title string
	// Page and Content return the addresses of a file of the pack, as a page and as it is; name is a path below the pack's top folder.
	Page, Content func(name string) string
}

// Render returns the HTML of a README, or false where it is too much to be rendered.
func Render(source []byte, o Options) (template.HTML, bool) {
	if len(source) > MaxSize || !utf8.Valid(source) || exceeds(source) {
		return "", false
	}
	t := &transformer{Options: o}
	markdown := goldmark.New(
		goldmark.WithExtensions(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignNone)), extension.Strikethrough, extension.Linkify),
		goldmark.WithParserOptions(parser.WithAutoHeadingID(), parser.WithASTTransformers(util.Prioritized(t, 1000))),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(nodeRenderer{}, 100))),
	)
	root := markdown.Parser().Parse(text.NewReader(source), parser.WithContext(parser.NewContext(parser.WithIDs(&ids{seen: map[string]int{}}))))
	var out bytes.Buffer
	if err := markdown.Renderer().Render(&out, source, root); err != nil {
		return "", false
	}
	return template.HTML(policy.SanitizeBytes(out.Bytes())), true //nolint:gosec // that is what the policy is for
}

// prefix is what ids of headings begin with, so that none is one of the page.
const prefix = "readme-"

// ids makes ids of headings.
type ids struct{ seen map[string]int }

// maxID is how long an id may be, in bytes.
const maxID = 64

func (i *ids) Generate(value []byte, _ ast.NodeKind) []byte {
	id := slug(string(value))
	i.seen[id]++
	if n := i.seen[id]; n > 1 {
		return []byte(prefix + id + "-" + strconv.Itoa(n-1))
	}
	return []byte(prefix + id)
}

func (i *ids) Put([]byte) {}

// slug makes an id of a heading, as GitHub does, which READMEs are written for.
func slug(heading string) string {
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.TrimSpace(heading))
	if len(id) > maxID {
		id = id[:maxID]
	}
	if id == "" {
		id = "section"
	}
	return id
}
