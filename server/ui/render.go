package ui

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

//go:embed templates
var templateFiles embed.FS

// templates is each page's template, by the name of its file, with the frame around it.
type templates map[string]*template.Template

func readTemplates(h *Handler) (templates, error) {
	frame, err := template.New("frame.html").Funcs(h.functions()).ParseFS(templateFiles, "templates/frame.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	entries, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	all := templates{}
	for _, e := range entries {
		if e.Name() == "frame.html" || e.Name() == "parts.html" {
			continue
		}
		own, err := frame.Clone()
		if err != nil {
			return nil, err
		}
		if all[strings.TrimSuffix(e.Name(), ".html")], err = own.ParseFS(templateFiles, "templates/"+e.Name()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// content is what a page has in the frame.
type content struct {
	// Template is the template's name: its file without .html.
	Template string
	Status   int
	// Title is the document's, before the site's.
	Title string
	// Section is where in the site's menu the page is: packs or about.
	Section string
	// OwnSearch says that the page has a search field of its own, and so needs none in the frame.
	OwnSearch bool
	// Pack is the pack in whose head the page is, if it is one of a pack.
	Pack *view
	// Data is what the template shows.
	Data any
}

// frame is what every template gets.
type frame struct {
	content
	Site     *Handler
	Host     string
	User     string
	CanLogIn bool
	// Here is the path of the page, to come back to after a login.
	Here string
	// Exact says that the menu's entry is this page, not a page above it.
	Exact bool
}

// render answers with a page. It is made as a whole before anything of it is sent, so that an error leaves no half of it.
func (h *Handler) render(w http.ResponseWriter, r *request, c content) error {
	t := h.templates[c.Template]
	if t == nil {
		return fmt.Errorf("no template %q", c.Template)
	}
	f := frame{content: c, Site: h, Host: hostOf(h.address(r)), User: r.viewer.User(), CanLogIn: r.viewer.CanLogIn(), Here: r.URL.RequestURI()}
	f.Exact = r.URL.Path == h.Base || r.URL.Path == h.Base+"about"
	var text bytes.Buffer
	if err := t.Execute(&text, f); err != nil {
		return err
	}
	if c.Status == 0 {
		c.Status = http.StatusOK
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	return sendCompressed(w, r.Request, c.Status, text.Bytes())
}

// sendCompressed sends a text, compressed where the client takes that. Nothing secret is in any page, so that its compressed length tells nothing.
func sendCompressed(w http.ResponseWriter, r *http.Request, status int, text []byte) error {
	header := w.Header()
	header.Add("Vary", "Accept-Encoding")
	if len(text) > 1<<10 && acceptsGzip(r) {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(text); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		text = packed.Bytes()
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(text) //nolint:errcheck // the client is gone
	}
	return nil
}

func (h *Handler) address(r *request) string {
	if h.Address != nil {
		return strings.TrimSuffix(h.Address(r.Request), "/")
	}
	return "https://" + r.Host
}

// failure is an error page: what is wrong, and what there is instead.
type failure struct {
	Status  int
	Heading string
	Text    string
	// Near are links to what there is instead.
	Near []link
	// Request is the request's id.
	Request string
}

type link struct{ Label, Href, Text, Note string }

func (f *failure) Error() string { return f.Heading }

// renderError shows an error, and logs what is the registry's own fault.
func (h *Handler) renderError(w http.ResponseWriter, r *request, err error) {
	var known *failure
	var status interface{ HTTPStatus() int }
	switch {
	case errors.As(err, &known):
	case errors.Is(err, ErrLogin):
		w.Header().Set("Cache-Control", "no-store")
		login := h.Base + "login?next=" + url.QueryEscape(r.URL.RequestURI())
		if !fromElsewhere(r.Request) {
			http.Redirect(w, r.Request, login, http.StatusSeeOther)
			return
		}
		// From a page of this site the browser sends the session, if there is one, and the login leads back.
		w.Header().Set("Refresh", "0; url="+login)
		if err := h.render(w, r, content{Template: "again", Title: "One moment", Data: login}); err != nil {
			h.Log.Error("a page failed", "error", err)
		}
		return
	case errors.Is(err, ErrNotFound):
		known = &failure{Status: http.StatusNotFound, Heading: "There is no such page", Text: "Nothing has this address, or it is not for " + whom(r) + "."}
	case errors.As(err, &status):
		known = &failure{Status: status.HTTPStatus(), Heading: http.StatusText(status.HTTPStatus()), Text: err.Error()}
	case r.Context().Err() != nil:
		return // nobody reads the answer
	default:
		h.Log.Error("a page failed", "path", r.URL.Path, "error", err, "request", w.Header().Get("X-Request-Id"))
		known = &failure{Status: http.StatusInternalServerError, Heading: "The registry failed", Text: "Its log says why."}
	}
	shown := *known
	shown.Request = w.Header().Get("X-Request-Id")
	w.Header().Set("Cache-Control", "no-store")
	if err := h.render(w, r, content{Template: "error", Status: shown.Status, Title: shown.Heading, Section: "packs", Data: shown}); err != nil {
		h.Log.Error("an error page failed", "error", err)
		http.Error(w, shown.Heading, shown.Status)
	}
}

func whom(r *request) string {
	if user := r.viewer.User(); user != "" {
		return user
	}
	return "everybody"
}
