package server

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"packregistry.dev/pack"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/internal/cursor"
)

// versionCheck answers the request that every client begins with.
func (s *Server) versionCheck(w http.ResponseWriter, _ *request) error {
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

// defaultPage is the size of a page that names no n.
const defaultPage = 100

// page reads ?n= and ?last=. n is capped at limit.
func page(r *request, limit int) (n int, last string, err error) {
	query := r.URL.Query()
	n = min(defaultPage, limit)
	if given := query.Get("n"); given != "" {
		n, err = strconv.Atoi(given)
		if err != nil || n < 0 {
			return 0, "", fail(codePagination, "n is %q; it must be a whole number of zero or more", given)
		}
		n = min(n, limit)
	}
	return n, query.Get("last"), nil
}

func (s *Server) catalog(w http.ResponseWriter, r *request) error {
	prefix := ""
	if r.api == "v1" {
		prefix = pack.ArchivePrefix
	}
	shown, err := s.catalogPage(w, r, prefix, "/_catalog")
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string][]string{"repositories": shown})
	return nil
}

// catalogPage returns the page of names that the request asks for, without their prefix, and announces the next one at that path.
func (s *Server) catalogPage(w http.ResponseWriter, r *request, prefix, path string) ([]string, error) {
	n, last, err := page(r, s.config.Catalog.MaxEntries)
	if err != nil {
		return nil, err
	}
	if last != "" {
		last = prefix + last
	}
	if next := r.URL.Query().Get("next"); next != "" {
		if last, err = s.cursors.Open(r.Context(), next); errors.Is(err, cursor.ErrInvalid) {
			return nil, fail(codePagination, "%w", err)
		} else if err != nil {
			return nil, err
		}
	}
	// One more than asked for shows whether there is a next page.
	names, read, err := s.visible(r, prefix, last, n+1)
	if err != nil {
		return nil, err
	}
	switch {
	case n == 0:
		names = nil
	case n < len(names):
		names = names[:n]
		s.link(w, r, path, url.Values{"n": {strconv.Itoa(n)}, "last": {names[n-1][len(prefix):]}})
	case read != "":
		next, err := s.cursors.Seal(r.Context(), read)
		if err != nil {
			return nil, err
		}
		s.link(w, r, path, url.Values{"n": {strconv.Itoa(n)}, "next": {next}})
	}
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = name[len(prefix):]
	}
	return shown, nil
}

// maxNamesRead bounds how many names are read for a page, however few of them its caller may see.
const maxNamesRead = 1000

// visible returns up to n repositories that the caller may pull. Where it gives up before it has found so many, read is
// the last name that it looked at.
func (s *Server) visible(r *request, prefix, last string, n int) (found []string, read string, err error) {
	list := s.basePaths.All(s.store.Repositories)
	if s.policy == nil || s.policy.Everything(r.user) {
		found, err = list(r.Context(), prefix, last, n)
		return found, "", err
	}
	for left := maxNamesRead; left > 0; {
		names, err := list(r.Context(), prefix, last, min(max(n, defaultPage), left))
		if err != nil || len(names) == 0 {
			return found, "", err
		}
		left -= len(names)
		for _, name := range names {
			last = name
			if !s.policy.Allows(r.user, auth.Pull, s.basePaths.Repository(name)) {
				continue
			}
			if found = append(found, name); len(found) == n {
				return found, "", nil
			}
		}
	}
	return found, last, nil
}
