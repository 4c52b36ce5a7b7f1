package server

import (
	"net/http"
	"net/url"
	"strconv"
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
	list := r.repository.Tags
	if r.door == "v1" {
		list = packTags{r.repository}.list
	}
	tags, err := list(r.Context(), last, n+1)
	if err != nil {
		return as(codeNameUnknown, err)
	}
	if n < len(tags) {
		tags = tags[:n]
		if n > 0 {
			s.link(w, r, "/"+r.name+"/tags/list", url.Values{"n": {strconv.Itoa(n)}, "last": {tags[n-1]}})
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"name": r.name, "tags": append([]string{}, tags...)})
	return nil
}
