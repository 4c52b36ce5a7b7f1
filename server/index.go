package server

import (
	"net/http"
	"strings"

	"packregistry.dev/pack"
	"packregistry.dev/server/internal/summaries"
)

// maxIndexes is how many requests of the index are served at once.
const maxIndexes = 8

// getIndex answers with a page of packs and what is known of each. Its ETag is made of the names of the page's packs and the state of
// their tags, which lists show: that nothing has changed costs lists alone. docs/adr/0006-index.md has the reasons and the figures.
func (s *Server) getIndex(w http.ResponseWriter, r *request) error {
	r.api = "v1"
	done, err := place(r, s.indexes, "pages of the index")
	if err != nil {
		return err
	}
	defer done()
	names, err := s.catalogPage(w, r, pack.ArchivePrefix, "/_index")
	if err != nil {
		return err
	}
	state, err := s.summaries.State(r.Context(), names)
	if err != nil {
		return err
	}
	// The link is part of what the client has: another page may come after this one. It is left out where it differs each time.
	next := w.Header().Get("Link")
	if strings.Contains(next, "next=") && !strings.Contains(next, "last=") {
		next = "more"
	}
	known := r.user != "" // who may know who pushed
	w.Header().Set("Etag", state.ETag(known, next))
	w.Header().Set("Cache-Control", "private, no-cache")
	w.Header().Set("Vary", "Authorization")
	if summaries.Names(r.Header.Values("If-None-Match"), w.Header().Get("Etag")) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	rows, err := state.Rows(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string][]summaries.Entry{"packs": summaries.Entries(rows, known)})
	return nil
}

// touch says that the request changed a repository, so that searches find a pack as it is now.
func (s *Server) touch(r *request) {
	if name, ok := strings.CutPrefix(r.repository.Name(), pack.ArchivePrefix); ok {
		s.summaries.Touch(name)
	}
}
