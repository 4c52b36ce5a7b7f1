package server

import (
	"net/http"
	"net/url"
	"strconv"

	"packregistry.dev/server/internal/packtags"
)

func (s *Server) listTags(w http.ResponseWriter, r *request) error {
	query := r.URL.Query()
	limit := s.config.Tags.MaxTags
	n, last, err := page(r, limit)
	if err != nil {
		return err
	}
	if !query.Has("n") {
		n = limit
	}
	list := r.repository.TagPage
	if r.api == "v1" {
		list = packtags.Of{Repository: r.repository}.Page
	}
	tags, more, err := list(r.Context(), last, n+1)
	if err != nil {
		return as(codeNameUnknown, err)
	}
	switch {
	case n == 0:
		tags = nil
	case n < len(tags):
		tags = tags[:n]
		more = tags[n-1]
		fallthrough
	case more != "": // fewer, since many that were deleted had to be read
		s.link(w, r, "/"+r.name+"/tags/list", url.Values{"n": {strconv.Itoa(n)}, "last": {more}})
	}
	writeJSON(w, http.StatusOK, map[string]any{"name": r.name, "tags": append([]string{}, tags...)})
	return nil
}
