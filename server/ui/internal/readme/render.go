package readme

import (
	"bytes"

	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/util"
)

// nodeRenderer renders the nodes that look different here from what goldmark makes of them.
type nodeRenderer struct{}

// RegisterFuncs says which nodes these are.
func (nodeRenderer) RegisterFuncs(to renderer.NodeRendererFuncRegisterer) {
	to.Register(ast.KindCodeSpan, renderCode)
	to.Register(ast.KindCodeBlock, renderBlock)
	to.Register(ast.KindFencedCodeBlock, renderBlock)
	to.Register(extast.KindTable, renderTable)
}

// renderTable puts a table into what scrolls where it is too wide, and can be reached by keyboard then.
func renderTable(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		put(w, "</table></div>\n")
		return ast.WalkContinue, w.Flush()
	}
	put(w, `<div class="scroll" tabindex="0" role="region" aria-label="`)
	if label, ok := n.AttributeString("label"); ok {
		if label, ok := label.(string); ok {
			put(w, string(util.EscapeHTML([]byte(label))))
		}
	}
	put(w, "\"><table>\n")
	return ast.WalkContinue, nil
}

func renderBlock(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		put(w, `<pre tabindex="0"><code>`)
		for i := range n.Lines().Len() {
			line := n.Lines().At(i)
			put(w, string(util.EscapeHTML(line.Value(source))))
		}
		put(w, "</code></pre>\n")
	}
	return ast.WalkSkipChildren, nil
}

// renderCode renders code in a line. In a table it may break after what separates the parts of names, so that columns stay narrow.
func renderCode(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	put(w, "<code>")
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		part, ok := child.(*ast.Text)
		if !ok {
			continue
		}
		value := bytes.ReplaceAll(part.Segment.Value(source), []byte("\n"), []byte(" "))
		for i := inTable(n); len(value) > 0; {
			end := len(value)
			if at := bytes.IndexAny(value, "./:"); i && at >= 0 {
				end = at + 1
			}
			put(w, string(util.EscapeHTML(value[:end])))
			if value = value[end:]; len(value) > 0 {
				put(w, "<wbr>")
			}
		}
	}
	put(w, "</code>")
	return ast.WalkSkipChildren, nil
}

func inTable(n ast.Node) bool {
	for p := n.Parent(); p != nil; p = p.Parent() {
		if p.Kind() == extast.KindTableCell {
			return true
		}
	}
	return false
}

// put writes HTML. Nothing fails: it goes to memory.
func put(w util.BufWriter, text string) {
	w.WriteString(text) //nolint:errcheck // see above
}
