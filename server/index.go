package server

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
)

// maxIndexes is how many requests of the index are served at once.
const maxIndexes = 8

// summary is a pack in the index, by its newest version.
type summary struct {
	Name        string        `json:"name"`
	Tag         string        `json:"tag"`
	Digest      digest.Digest `json:"digest"`
	Size        int64         `json:"size"`
	Pushed      time.Time     `json:"pushed"`
	By          string        `json:"by,omitempty"`
	Versions    int           `json:"versions"`
	DisplayName string        `json:"displayName,omitempty"`
	Description string        `json:"description,omitempty"`
	Layer       string        `json:"layer,omitempty"`
	Type        string        `json:"type,omitempty"`
	Group       string        `json:"group,omitempty"`
	CloudTypes  []string      `json:"cloudTypes,omitempty"`
	Source      string        `json:"source,omitempty"`
	State       string        `json:"state,omitempty"`
}

// getIndex answers with a page of packs and what is known of each. Its ETag is made of the names of the page's packs and the state of
// their tags, which lists show: that nothing has changed costs lists alone. docs/adr/0002-index.md has the reasons and the figures.
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
	known := r.user != ""
	sum := sha256.Sum256(fmt.Appendf(nil, "1 %t %q %x", known, next, state.Sum()))
	tag := fmt.Sprintf(`"sha256:%x"`, sum)
	w.Header().Set("Etag", tag)
	w.Header().Set("Cache-Control", "private, no-cache")
	w.Header().Set("Vary", "Authorization")
	if namesTag(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	rows, err := state.Rows(r.Context())
	if err != nil {
		return err
	}
	packs := make([]summary, 0, len(rows))
	for _, row := range rows {
		one := summary{row.Name, row.Tag, row.Digest, row.Size, row.Pushed.UTC(), "", row.Versions, row.DisplayName, row.Description,
			row.Layer, row.Type, row.Group, row.CloudTypes, row.Source, row.State}
		if known {
			one.By = row.By
		}
		packs = append(packs, one)
	}
	writeJSON(w, http.StatusOK, map[string][]summary{"packs": packs})
	return nil
}

// namesTag says whether If-None-Match names an ETag.
func namesTag(headers []string, tag string) bool {
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == tag || one == "*" {
				return true
			}
		}
	}
	return false
}

// touch says that the request changed a repository, so that searches find a pack as it is now.
func (s *Server) touch(r *request) {
	if name, ok := strings.CutPrefix(r.repository.Name(), pack.ArchivePrefix); ok {
		s.summaries.Touch(name)
	}
}
