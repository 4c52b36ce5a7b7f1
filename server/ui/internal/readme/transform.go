package readme

import (
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// transformer makes a README's tree fit its page.
type transformer struct{ Options }

// Transform changes the tree. Nodes are collected before any of them is replaced.
func (t *transformer) Transform(document *ast.Document, reader text.Reader, _ parser.Context) {
	source := reader.Source()
	if first, ok := document.FirstChild().(*ast.Heading); ok && first.Level == 1 && strings.EqualFold(strings.TrimSpace(plain(first, source)), t.Title) {
		document.RemoveChild(document, first)
	}
	var headings []*ast.Heading
	var links []ast.Node
	heading, tables := "", 0
	//nolint:errcheck // the visitor returns no error
	ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			headings = append(headings, n)
			heading = strings.TrimSpace(plain(n, source))
		case *ast.Link, *ast.Image, *ast.AutoLink:
			links = append(links, n)
		case *extast.Table:
			tables++
			n.SetAttributeString("label", tableLabel(tables, heading))
		case *extast.TableCell:
			if n.Parent().Kind() == extast.KindTableHeader {
				n.SetAttributeString("scope", "col")
			}
		}
		return ast.WalkContinue, nil
	})
	level(headings)
	for i := len(links) - 1; i >= 0; i-- { // the inner ones first: an image in a link
		t.link(links[i], source)
	}
}

func tableLabel(number int, heading string) string {
	heading = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`<>"`, r) {
			return -1
		}
		return r
	}, heading)
	if heading == "" {
		return "Table " + strconv.Itoa(number)
	}
	return "Table " + strconv.Itoa(number) + ": " + heading
}

// level puts headings below that of the page, which is the only one of level 1, and leaves no level out.
func level(headings []*ast.Heading) {
	var above []int // the levels, as written, that the current heading is in
	for _, h := range headings {
		for len(above) > 0 && above[len(above)-1] >= h.Level {
			above = above[:len(above)-1]
		}
		above = append(above, h.Level)
		h.Level = min(len(above)+1, 6)
	}
}

// link makes a link or an image lead where it may, or leaves what is written of it.
func (t *transformer) link(n ast.Node, source []byte) {
	switch n := n.(type) {
	case *ast.Link:
		if n.Destination = []byte(t.target(destination(n.Destination), t.Page)); len(n.Destination) == 0 {
			unwrap(n)
		}
		n.Title = nil
	case *ast.AutoLink:
		address := string(n.URL(source))
		if n.AutoLinkType == ast.AutoLinkEmail && !strings.HasPrefix(strings.ToLower(address), "mailto:") {
			address = "mailto:" + address
		}
		if external(address) == "" {
			replace(n, ast.NewString(n.Label(source)))
		}
	case *ast.Image:
		n.Title = nil
		address := destination(n.Destination)
		if name, ok := inPack(address); ok {
			n.Destination = []byte(t.Content(name))
			n.SetAttributeString("loading", "lazy")
			return
		}
		alt := strings.TrimSpace(plain(n, source))
		if alt == "" {
			alt = "image"
		}
		words := ast.NewString([]byte(alt))
		if address = external(address); address == "" || inLink(n) {
			replace(n, words)
			return
		}
		to := ast.NewLink()
		to.Destination = []byte(address)
		to.AppendChild(to, words)
		replace(n, to)
	}
}

// destination is a link's address with its character references resolved, as it is rendered.
func destination(written []byte) string {
	return string(util.ResolveEntityNames(util.ResolveNumericReferences(util.UnescapePunctuations(written))))
}

// target is where a link leads: to a heading of this README, to a file of the pack, or elsewhere; "" where it may not lead.
func (t *transformer) target(address string, page func(string) string) string {
	if fragment, ok := strings.CutPrefix(address, "#"); ok {
		if decoded, err := url.PathUnescape(fragment); err == nil {
			fragment = decoded
		}
		return "#" + prefix + slug(fragment)
	}
	if name, ok := inPack(address); ok {
		return page(name)
	}
	return external(address)
}

// external returns an address of another place, if it is one that a link may have.
func external(address string) string {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return ""
	}
	switch {
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil, u.Scheme == "mailto" && u.Opaque != "":
		return u.String()
	}
	return ""
}

// inPack returns the file of the pack that a relative address means.
func inPack(address string) (name string, ok bool) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil || u.Path == "" || strings.HasPrefix(u.Path, "/") || strings.Contains(u.Path, "\\") {
		return "", false
	}
	name = path.Clean(u.Path)
	return name, name != "." && name != ".." && !strings.HasPrefix(name, "../")
}

func inLink(n ast.Node) bool {
	for p := n.Parent(); p != nil; p = p.Parent() {
		if p.Kind() == ast.KindLink {
			return true
		}
	}
	return false
}

func replace(n, by ast.Node) {
	if parent := n.Parent(); parent != nil {
		parent.ReplaceChild(parent, n, by)
	}
}

// unwrap puts a node's children in its place.
func unwrap(n ast.Node) {
	parent := n.Parent()
	if parent == nil {
		return
	}
	for child := n.FirstChild(); child != nil; {
		next := child.NextSibling()
		parent.InsertBefore(parent, n, child)
		child = next
	}
	parent.RemoveChild(parent, n)
}

// plain is the text of a node, without what marks it up.
func plain(n ast.Node, source []byte) string {
	var b strings.Builder
	//nolint:errcheck // the visitor returns no error
	ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			switch n := n.(type) {
			case *ast.Text:
				b.Write(n.Segment.Value(source))
			case *ast.String:
				b.Write(n.Value)
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}
