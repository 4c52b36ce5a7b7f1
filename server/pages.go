package server

import (
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/internal/packfiles"
	"packregistry.dev/server/internal/pages"
	"packregistry.dev/server/internal/work"
	"packregistry.dev/server/store"
)

// This file is what the server does for its pages (server/ui), which are put together in internal/pages: they are routed here, and
// use the API's check of passwords, its shares, its log and its errors.

// addPages adds the pages, unless the configuration turns them off.
func (s *Server) addPages() (err error) {
	if !s.config.UIEnabled() {
		return nil
	}
	s.pages, err = pages.New(pages.Options{Config: s.config, Store: s.store, Index: s.summaries, Users: s.users, Policy: s.policy, Prefix: s.prefix, Version: Version, Log: s.log})
	return err
}

// servePages answers a request below /ui/, or leads a browser from / there.
func (s *Server) servePages(w http.ResponseWriter, r *request, path string) error {
	r.route = "/" + pages.Path
	if path != pages.Path[:len(pages.Path)-1] && path != "" {
		return s.servePage(w, r)
	}
	w.Header().Add("Vary", "Accept")
	http.Redirect(w, r.Request, s.prefix+pages.Path, http.StatusSeeOther)
	return nil
}

func (s *Server) servePage(w http.ResponseWriter, r *request) (err error) {
	secure := r.TLS != nil || r.client.Scheme == "https"
	if r.user, err = s.pages.User(r.Request, secure); err != nil {
		return err
	}
	s.pages.Serve(w, r.Request, &pages.Visit{User: r.user, Secure: secure, Address: s.base(r),
		Login: func(user, password string) error { return s.login(r, user, password) },
		Files: func(from *store.Repository, d digest.Digest) ([]pack.File, error) {
			part := r.of(from, d)
			defer func() { r.waits = part.waits }()
			return s.packFiles(part)
		},
		Walk: func(from *store.Repository, d digest.Digest, visit pages.Visitor) error {
			part := r.of(from, d)
			defer func() { r.waits = part.waits }()
			return s.walkPack(part, visit)
		},
		Room: func(action auth.Action) error {
			return s.checkPolicy(&request{Request: r.Request}, map[auth.Action]permission{auth.Push: push, auth.Delete: del}[action])
		},
		Audit: func(what, repository string, args ...any) {
			s.audit(r.of(s.store.Repository(repository), ""), what, args...)
		},
		Forbidden: func(action auth.Action, repository string) { s.forbidden(r, action, repository) },
		Classify: func(err error) error {
			if known := classify(err); known != nil {
				return known
			}
			return err
		}})
	return nil
}

// HTTPStatus is the answer's, for the pages.
func (e *apiError) HTTPStatus() int { return e.code.status }

// of is a request for a pack's version, by the same user. What it waits for counts for all of the page: see acquire.
func (r *request) of(repository *store.Repository, d digest.Digest) *request {
	return &request{Request: r.Request, api: "v1", repository: repository, param: d.String(), user: r.user, client: r.client, id: r.id, waits: r.waits}
}

// packFiles lists the files of a version.
func (s *Server) packFiles(r *request) ([]pack.File, error) {
	m, err := findHead(r)
	if err != nil {
		return nil, err
	}
	archive, err := s.archiveOf(r, m)
	if err != nil {
		return nil, err
	}
	list, err := s.fileList(r, m, archive)
	if err != nil {
		return nil, err
	}
	defer list.Close()
	return packfiles.Decode(list)
}

// walkPack reads the files of a version, in one of the places for unpacking.
func (s *Server) walkPack(r *request, visit pages.Visitor) error {
	m, err := findHead(r)
	if err != nil {
		return err
	}
	archive, err := s.archiveOf(r, m)
	if err != nil {
		return err
	}
	return s.unpack(r, archive, func(content io.Reader, task *work.Task, _ func()) error {
		return pack.Walk(r.Context(), task.Reader(content), func(name string, size int64, file io.Reader) error { return visit(name, size, file, task) })
	})
}
