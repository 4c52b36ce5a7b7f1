package readme

import (
	"bytes"
	"html/template"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"packregistry.dev/internal/testfuzz"
)

var options = Options{
	Title:   "Hello",
	Page:    func(name string) string { return "/ui/packs/hello/d/files/" + name },
	Content: func(name string) string { return "/ui/packs/hello/d/files/" + name + "?raw=1" },
}

func render(t *testing.T, source string) string {
	t.Helper()
	out, ok := Render([]byte(source), options)
	if !ok {
		t.Fatalf("not rendered: %.200q", source)
	}
	return string(out)
}

func TestRender(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"raw HTML is left out":          {"a <script>alert(1)</script> b", "<p>a alert(1) b</p>\n"},
		"a heading that repeats":        {"# Hello\n\ntext", "<p>text</p>\n"},
		"headings go below the page's":  {"# One\n\n### Two", "<h2 id=\"readme-one\">One</h2>\n<h3 id=\"readme-two\">Two</h3>\n"},
		"headings of one name":          {"## A\n\n## A", "<h2 id=\"readme-a\">A</h2>\n<h2 id=\"readme-a-1\">A</h2>\n"},
		"a link to a heading":           {"[x](#Usage%20notes)", "<p><a href=\"#readme-usage-notes\">x</a></p>\n"},
		"a link to a file":              {"[x](docs/a.md#b)", "<p><a href=\"/ui/packs/hello/d/files/docs/a.md\">x</a></p>\n"},
		"a link out of the pack":        {"[x](../../../../v2/)", "<p>x</p>\n"},
		"a link to the site":            {"[x](/ui/logout)", "<p>x</p>\n"},
		"a link to another host":        {"[x](//evil.example/)", "<p>x</p>\n"},
		"a link with a password":        {"[x](https://registry.example@evil.example/)", "<p>x</p>\n"},
		"a script as link":              {"[x](javascript:alert(1))", "<p>x</p>\n"},
		"a script in disguise":          {"[x](JaVaScRiPt&colon;alert(1))", "<p>x</p>\n"},
		"data as link":                  {"[x](data:text/html;base64,AAAA)", "<p>x</p>\n"},
		"an external link":              {"[x](https://a.example/b)", "<p><a href=\"https://a.example/b\" rel=\"nofollow\">x</a></p>\n"},
		"a mail":                        {"<a@b.example>", "<p><a href=\"mailto:a@b.example\">a@b.example</a></p>\n"},
		"an image of the pack":          {"![a](img/a.png)", "<p><img src=\"/ui/packs/hello/d/files/img/a.png?raw=1\" alt=\"a\" loading=\"lazy\"></p>\n"},
		"an image from elsewhere":       {"![a](https://a.example/a.png)", "<p><a href=\"https://a.example/a.png\" rel=\"nofollow\">a</a></p>\n"},
		"a badge":                       {"[![build](https://a.example/a.svg)](https://b.example/)", "<p><a href=\"https://b.example/\" rel=\"nofollow\">build</a></p>\n"},
		"an image that is data":         {"![a](data:image/svg+xml,%3Csvg%3E)", "<p>a</p>\n"},
		"an attribute that breaks out":  {"[x](https://a.example/\"onmouseover=alert(1))", "<p><a href=\"https://a.example/%22onmouseover=alert%281%29\" rel=\"nofollow\">x</a></p>\n"},
		"code in a table may break":     {"|a|\n|-|\n|`a.b`|", "<code>a.<wbr>b</code>"},
		"a table has a name and scopes": {"## P\n\n|a|\n|-|\n|b|", `<div class="scroll" tabindex="0" role="region" aria-label="Table 1: P"><table>`},
	} {
		got := render(t, c.source)
		part := strings.HasPrefix(c.want, "<code>") || strings.HasPrefix(c.want, "<div")
		if !strings.Contains(got, c.want) || !part && got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

func TestWhatIsTooMuchIsNotRendered(t *testing.T) {
	for name, source := range map[string]string{
		"size":     strings.Repeat("a\n", MaxSize/2+1),
		"quotes":   strings.Repeat(">", 10000) + "a",
		"lists":    strings.Repeat("- ", 10000) + "a",
		"brackets": strings.Repeat("[", 10000) + "a",
		"links":    strings.Repeat("[a](", 10000),
		"cells":    strings.Repeat("|a", 2000) + "\n" + strings.Repeat("|-", 2000) + "\n" + strings.Repeat("|\n", 20000),
		"names":    strings.Repeat("[a]: b\n", 10000),
		"headings": strings.Repeat("# a\n", 10000),
		"emphasis": strings.Repeat("*a _b ", 80000),
		"no text":  "\xff\xfe",
	} {
		if _, ok := Render([]byte(source), options); ok {
			t.Errorf("%s: rendered", name)
		}
	}
}

// allowed is every element that a README can become, with its attributes. It is not made of the policy, which it checks.
var allowed = map[string][]string{
	"p": nil, "br": nil, "hr": nil, "ul": nil, "ol": {"start"}, "li": nil, "blockquote": nil, "em": nil, "strong": nil, "del": nil,
	"code": nil, "pre": {"tabindex"}, "div": {"class", "tabindex", "role", "aria-label"}, "table": nil, "thead": nil, "tbody": nil, "tr": nil,
	"th": {"scope"}, "td": nil, "wbr": nil, "a": {"href", "rel"}, "img": {"src", "alt", "loading"},
	"h2": {"id"}, "h3": {"id"}, "h4": {"id"}, "h5": {"id"}, "h6": {"id"},
}

// check parses HTML as a browser does and holds it against the list.
func check(t *testing.T, source, out string) {
	t.Helper()
	nodes, err := html.ParseFragment(strings.NewReader(out), &html.Node{Type: html.ElementNode, Data: "article", DataAtom: atom.Article})
	if err != nil {
		t.Fatalf("%q became %q, which is no HTML: %v", source, out, err)
	}
	var visit func(n *html.Node)
	visit = func(n *html.Node) {
		switch n.Type {
		case html.ElementNode:
			attributes, ok := allowed[n.Data]
			if !ok || n.Namespace != "" {
				t.Errorf("%q became %q, with <%s>", source, out, n.Data)
			}
			for _, a := range n.Attr {
				if !contains(attributes, a.Key) || a.Namespace != "" {
					t.Errorf("%q became %q, with <%s %s>", source, out, n.Data, a.Key)
				}
				checkValue(t, source, n.Data, a)
			}
		case html.TextNode:
		default:
			t.Errorf("%q became %q, with a node of type %d", source, out, n.Type)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			visit(c)
		}
	}
	for _, n := range nodes {
		visit(n)
	}
}

func checkValue(t *testing.T, source, element string, a html.Attribute) {
	t.Helper()
	good := true
	switch a.Key {
	case "href":
		lower := strings.ToLower(a.Val)
		good = strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://") || strings.HasPrefix(lower, "mailto:") ||
			strings.HasPrefix(a.Val, "#readme-") || strings.HasPrefix(a.Val, "/ui/packs/hello/d/files/")
	case "src":
		good = strings.HasPrefix(a.Val, "/ui/packs/hello/d/files/")
	case "id":
		good = strings.HasPrefix(a.Val, "readme-")
	case "class":
		good = a.Val == "scroll"
	}
	if !good {
		t.Errorf("%q has <%s %s=%q>", source, element, a.Key, a.Val)
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// hostile are READMEs that once did something in some renderer, and what is slow in others.
var hostile = []string{
	"<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "<a href=\"javascript:alert(1)\">x</a>", "[a](javascript&colon;alert(1))",
	"![x](\"onerror=\"alert(1))", "<style>@import 'x'</style>", "<math><mi//xlink:href=\"data:x,<script>alert(1)</script>\">",
	"<table><td><table><svg><foreignObject><p id=x>", "# <b id=main>", "## a {#id onclick=x}", "[x]: javascript:alert(1)\n[x]",
	"<!--><img src=x onerror=alert(1)>-->", "`</code><script>`", "```\n</code></pre><script>\n```", "|a\"><script>|\n|-|\n|b|", "&lt;script&gt;",
	"<http://a.example/\"onclick=alert(1)>", "[a](https://x/<script>)", "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
	"[x](vbscript:a)", "[x](\x01javascript:a)", "[x](java\nscript:a)", "![a](..//evil.example/x.png)", "![a](.//evil.example)", "![a](a\\..\\b)", "[a](docs/../../x)",
	"## \"><script>\n\n|a|\n|-|\n|b|", "1. a\n2147483648. b", "a\\\nb", "~~a~~ **b** *c*", "> a\n>> b", "[a](<b c>)", "![a](?x)", "[a](?raw=1)", "![a](b?raw=1&x)",
}

func TestHostileREADMEsBecomeListedElementsOnly(t *testing.T) {
	for _, source := range hostile {
		check(t, source, render(t, source))
	}
}

func FuzzRender(f *testing.F) {
	for _, source := range hostile {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		var out template.HTML
		var ok bool
		testfuzz.Proportionate(t, len(source), func() { out, ok = Render([]byte(source), options) })
		if ok {
			check(t, source, string(out))
		}
	})
}

// BenchmarkRender renders what real READMEs have, and what is slow in parsers of Markdown, at the greatest size.
func BenchmarkRender(b *testing.B) {
	// fill repeats a text as often as all bounds allow.
	fill := func(s string) []byte {
		low, high := 0, MaxSize/len(s)
		for low < high {
			if half := (low + high + 1) / 2; exceeds([]byte(strings.Repeat(s, half))) {
				high = half - 1
			} else {
				low = half
			}
		}
		return []byte(strings.Repeat(s, low))
	}
	for name, source := range map[string][]byte{
		"text": fill("Some *words* and `code`, [a link](https://a.example).\n\n"), "emphasis": fill("*a _b "), "links": fill("[a]("), "links2": fill("[a][b] "),
		"quotes": fill("> > > > a\n"), "lists": fill("- a\n  - b\n    - c\n"), "table": fill("|a|b|\n|-|-|\n|c|d|\n\n"), "row": append([]byte("|a|\n|-|\n"), fill("|")...),
		"wide":  append([]byte(strings.Repeat("|a", 200)+"\n"+strings.Repeat("|-", 200)+"\n"), bytes.Repeat([]byte("|\n"), 190)...),
		"ticks": fill("`a ``b "), "autolinks": fill("http://a."), "entities": fill("&#1"), "html": fill("<a b='"), "comments": fill("<!-- "), "headings": fill("# a\n"), "references": fill("[a]: b\n"),
		"emails": fill("a@b."), "stars": fill("**"), "image": fill("![a](b)"), "nested": fill("![[a"), "images": fill("![a]("), "deep": fill(strings.Repeat("> ", 16) + "a\n"),
	} {
		if only := os.Getenv("ONLY"); only != "" && only != name {
			continue
		}
		if _, ok := Render(source, options); !ok {
			b.Errorf("%s: not rendered, %d bytes", name, len(source))
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Render(source, options)
			}
		})
	}
}
