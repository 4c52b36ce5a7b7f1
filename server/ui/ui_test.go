package ui_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"packregistry.dev/server/ui"
)

// someone looks at the pages, and may do what is named.
type someone struct {
	user    string
	login   bool
	actions map[ui.Action]bool
}

func (s someone) User() string                   { return s.user }
func (s someone) CanLogIn() bool                 { return s.login }
func (s someone) May(a ui.Action, _ string) bool { return s.actions[a] }
func (someone) Refused(ui.Action, string)        {}

// fixed is a registry whose answers the test gives.
type fixed struct {
	ui.Registry
	list ui.List
	err  error
}

func (f fixed) Search(context.Context, ui.Query) (ui.List, error) { return f.list, f.err }

func newHandler(t *testing.T, viewer ui.Viewer, registry ui.Registry) *ui.Handler {
	t.Helper()
	h, err := ui.New(ui.Options{Base: "/below/ui/", Version: "1.0.0", Open: func(*http.Request) (ui.Viewer, ui.Registry) { return viewer, registry }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestErrorsAreShown(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		has    string
	}{
		"login":   {ui.ErrLogin, http.StatusSeeOther, ""},
		"failure": {errors.New("disk 7 is on fire"), http.StatusInternalServerError, "The registry failed"},
		"nothing": {ui.ErrNotFound, http.StatusNotFound, "There is no such page"},
	} {
		w := get(newHandler(t, someone{}, fixed{err: c.err}), "/below/ui/?q=a")
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "disk 7") {
			t.Errorf("%s: the page shows the registry's own error", name)
		}
		if errors.Is(c.err, ui.ErrLogin) && w.Header().Get("Location") != "/below/ui/login?next=%2Fbelow%2Fui%2F%3Fq%3Da" {
			t.Errorf("the login does not lead back: %s", w.Header().Get("Location"))
		}
		if w.Header().Get("Www-Authenticate") != "" {
			t.Errorf("%s: asks the browser for a password", name)
		}
	}
}

func TestPagesHaveAStrictPolicy(t *testing.T) {
	h := newHandler(t, someone{}, fixed{})
	for _, path := range []string{"/below/ui/", "/below/ui/nothing"} {
		if w := get(h, path); w.Header().Get("Content-Security-Policy") != ui.Policy {
			t.Errorf("%s: %q", path, w.Header())
		}
	}
}

// The figures of the design: what every visitor downloads once.
func TestAssetsAreSmall(t *testing.T) {
	h := newHandler(t, someone{}, fixed{})
	for file, limit := range map[string]int{"style.css": 12 << 10, "app.js": 6 << 10, "icon.svg": 1 << 10} {
		w := get(h, "/below/ui/assets/"+file, "Accept-Encoding", "gzip")
		if w.Code != http.StatusOK || w.Body.Len() > limit || w.Body.Len() == 0 {
			t.Errorf("%s: status %d, %d bytes, of which %d are allowed", file, w.Code, w.Body.Len(), limit)
		}
	}
}

// A cursor whose rows went leads to the first page, not to a page that says that nothing matches.
func TestACursorPastTheEndLeadsToTheFirstPage(t *testing.T) {
	w := get(newHandler(t, someone{}, fixed{list: ui.List{Found: 3, Total: 3, Indexed: 3}}), "/below/ui/?q=a&after=zzz")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/below/ui/?q=a" {
		t.Errorf("%d %s", w.Code, w.Header().Get("Location"))
	}
}
