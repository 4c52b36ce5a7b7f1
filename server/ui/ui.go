package ui

import (
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Options is what the pages are made of.
type Options struct {
	// Base is the path below which the pages lie, with a slash at both ends: /ui/, or /packs/ui/ where http.prefix is /packs/.
	Base string
	// Title is the site's name; PackRegistry where it is empty.
	Title string
	// Logo is an image to show beside the title, with its media type; there is a built-in one.
	Logo     []byte
	LogoType string
	// Version is the program's.
	Version string
	// Address is the registry's URL as clients see it, for one request: https://packs.example.com.
	Address func(r *http.Request) string
	// Open says who looks at the pages, and what the registry shows to them.
	Open func(r *http.Request) (Viewer, Registry)
	// Logins is how the sender of a request logs in; it is nil where nobody can.
	Logins func(r *http.Request) Logins
	// Changes changes packs for the sender of a request; it is nil where the pages change nothing.
	Changes func(r *http.Request) Changes
	// Origin is an origin that is this server's besides the host of each request, as clients see it: https://packs.example.com.
	Origin string
	Log    *slog.Logger
	// Now is time.Now, except in tests.
	Now func() time.Time
}

// Handler is the pages. It serves every path that begins with Options.Base.
type Handler struct {
	Options
	assets    map[string]*asset
	logo      *asset
	templates templates
	routes    *http.ServeMux
	work      work
	// forms refuses forms that pages of other sites send, a login too.
	forms *http.CrossOriginProtection
}

// New makes the pages.
func New(o Options) (*Handler, error) {
	if o.Title == "" {
		o.Title = "PackRegistry"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{Options: o, work: newWork(), forms: http.NewCrossOriginProtection()}
	var err error
	if o.Origin != "" {
		if err = h.forms.AddTrustedOrigin(o.Origin); err != nil {
			return nil, err
		}
	}
	if h.assets, err = readAssets(); err != nil {
		return nil, err
	}
	if len(o.Logo) > 0 {
		h.logo = newAsset("logo", o.Logo)
		h.logo.mediaType = o.LogoType
		h.assets["logo"] = h.logo
	}
	if h.templates, err = readTemplates(h); err != nil {
		return nil, err
	}
	h.routes = h.mux()
	return h, nil
}

// request is an HTTP request with who sent it.
type request struct {
	*http.Request
	viewer   Viewer
	registry Registry
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.routes.ServeHTTP(w, r) }

func (h *Handler) serve(w http.ResponseWriter, hr *http.Request, handle page) {
	viewer, registry := h.Open(hr)
	r := &request{Request: hr, viewer: viewer, registry: registry}
	setDefaults(w.Header())
	err := h.forms.Check(hr)
	if err != nil {
		err = &failure{Status: http.StatusForbidden, Heading: "This form came from another site", Text: "Nothing was changed. Open the page here and send the form again."}
	} else {
		err = handle(h, w, r)
	}
	if err != nil {
		h.renderError(w, r, err)
	}
}

// Policy is the Content-Security-Policy of every page.
const Policy = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// setDefaults sets the headers of every answer that the administrator did not configure.
func setDefaults(header http.Header) {
	for name, value := range map[string]string{
		"Content-Security-Policy": Policy,
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "same-origin", // with none, browsers hide the origin of forms over plain HTTP
		"Cache-Control":           "private, no-cache",
	} {
		if header.Get(name) == "" {
			header.Set(name, value)
		}
	}
}

// hostOf is the host of a URL, with its port.
func hostOf(address string) string {
	_, host, _ := strings.Cut(address, "://")
	return strings.TrimSuffix(host, "/")
}
