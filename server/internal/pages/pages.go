// Package pages puts the registry's pages (package ui) on top of the store: who looks at them, what the registry shows to that user, and
// what it lets the user change. Rights are those of the API; the credential is a session, which counts here alone.
//
//	pages.go     Options, and one visit
//	session.go   logging in and out
//	registry.go  packs, as the viewer may see them
//	changes.go   tags that are set and taken away
//	logo.go      the administrator's image
package pages

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/summaries"
	"packregistry.dev/server/internal/tokens"
	"packregistry.dev/server/internal/transfer"
	"packregistry.dev/server/store"
	"packregistry.dev/server/ui"
)

// Path is where the pages lie, below http.prefix.
const Path = "ui/"

// Options are the parts of the registry that the pages need.
type Options struct {
	Config *config.Config
	Store  *store.Store
	Index  *summaries.Index
	// Users and Policy are nil where there are none.
	Users  *auth.HTPasswd
	Policy *auth.Policy
	// Prefix is http.prefix with a slash at both ends.
	Prefix  string
	Version string
	Log     *slog.Logger
}

// Pages answers requests for pages.
type Pages struct {
	Options
	sessions *tokens.Sessions
	pages    *ui.Handler
	// cookie is the session's name. Registries of one host keep theirs apart by their prefixes, whose slashes are "!", which no prefix has.
	cookie string
	// ownPolicy says that pages send their own policy, since the administrator configured none.
	ownPolicy bool
	// indexed is set once the index knew of a pack, or had the time to.
	indexed atomic.Bool
}

// New makes the pages.
func New(o Options) (*Pages, error) {
	const policy = "Content-Security-Policy"
	p := &Pages{Options: o, cookie: "__Host-packregistry", ownPolicy: slices.Equal(o.Config.HTTP.Headers[policy], config.DefaultHeaders()[policy])}
	if below := strings.Trim(o.Prefix, "/"); below != "" {
		p.cookie += "-" + strings.ReplaceAll(below, "/", "!")
	}
	options := ui.Options{Base: o.Prefix + Path, Title: o.Config.UI.Title, Version: o.Version, Log: o.Log, Origin: originOf(o.Config.HTTP.Host),
		Address: func(r *http.Request) string { return visitOf(r).Address },
		Open:    p.open}
	var err error
	if options.Logo, options.LogoType, err = readLogo(o.Config.UI.Logo); err != nil {
		return nil, err
	}
	if o.Users != nil && o.Policy != nil {
		p.sessions = tokens.NewSessions(o.Store, o.Users, o.Log)
		options.Logins = func(r *http.Request) ui.Logins { return logins{p, visitOf(r)} }
	}
	if len(o.Config.UI.Actions) > 0 {
		options.Changes = func(r *http.Request) ui.Changes { return changes{p, visitOf(r)} }
	}
	p.pages, err = ui.New(options)
	return p, err
}

// originOf is the origin of http.host, which may have a path; empty where it is not set.
func originOf(host string) string {
	u, err := url.Parse(host)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Visit is one request for a page, with what the server knows of it and does for it.
type Visit struct {
	// User is who looks, empty for somebody who is not logged in.
	User string
	// Secure says whether the request came over HTTPS.
	Secure bool
	// Address is the server's URL as the client sees it, without a slash at its end.
	Address string
	// Login checks a password, and counts and slows down wrong ones, as the API does.
	Login func(user, password string) error
	// Files lists the files of a version, and Walk reads them, within the API's bounds.
	Files func(from *store.Repository, d digest.Digest) ([]pack.File, error)
	Walk  func(from *store.Repository, d digest.Digest, visit Visitor) error
	// Room refuses what the registry has no room for, or does not do.
	Room func(action auth.Action) error
	// Audit records a change.
	Audit func(what string, repository string, args ...any)
	// Forbidden records that the user, or somebody who is not logged in, may not do that.
	Forbidden func(action auth.Action, repository string)
	// Classify gives errors of the store a status.
	Classify func(error) error
}

// Visitor is called for each file of a version. around is what its content goes through on its way to a client.
type Visitor func(name string, size int64, content io.Reader, around transfer.Around) error

type visitKey struct{}

func visitOf(r *http.Request) *Visit {
	v, _ := r.Context().Value(visitKey{}).(*Visit) //nolint:errcheck // Serve always sets it
	return v
}

// Serve answers one request.
func (p *Pages) Serve(w http.ResponseWriter, r *http.Request, v *Visit) {
	if p.ownPolicy {
		w.Header().Del("Content-Security-Policy")
	}
	p.pages.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
}

// Wants says whether a client that asks for / is a browser, which is led to the pages.
func Wants(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

func (p *Pages) open(r *http.Request) (ui.Viewer, ui.Registry) {
	v := visitOf(r)
	return viewer{p, v}, registry{p, v}
}

// viewer is who looks at the pages.
type viewer struct {
	p *Pages
	v *Visit
}

func (w viewer) User() string   { return w.v.User }
func (w viewer) CanLogIn() bool { return w.p.sessions != nil }

// rights are what each action takes.
var rights = map[ui.Action]auth.Action{ui.Push: auth.Push, ui.Tag: auth.Push, ui.Untag: auth.Delete, ui.Delete: auth.Delete}

func (w viewer) May(action ui.Action, packName string) bool {
	right, known := rights[action]
	if !known || action != ui.Push && !slices.Contains(w.p.Config.UI.Actions, string(action)) {
		return false
	}
	return w.p.allows(w.v.User, right, pack.Repository(packName))
}

// Refused records what the user's rights do not allow. What the configuration does not offer concerns nobody's rights.
func (w viewer) Refused(action ui.Action, packName string) {
	right, repository := rights[action], pack.Repository(packName)
	if right != "" && store.ValidName(repository) && !w.p.allows(w.v.User, right, repository) {
		w.v.Forbidden(right, repository)
	}
}

func (p *Pages) allows(user string, action auth.Action, repository string) bool {
	return p.Policy == nil || p.Policy.Allows(user, action, repository)
}

// keeps is how long a version stays that no tag names; 0 where nothing is collected.
func (p *Pages) keeps() time.Duration {
	c := p.Config.Storage.Maintenance.GarbageCollection
	if c.Enabled != nil && !*c.Enabled {
		return 0
	}
	return time.Duration(c.KeepUntagged)
}
