package server

import (
	"encoding/json"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxReferrers bounds how many are read for a page of referrers. The store bounds their bytes too.
const maxReferrers = 100

func (s *Server) listReferrers(w http.ResponseWriter, r *request) error {
	subject, err := parseDigest(r.param)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	var after digest.Digest
	if last := query.Get("last"); last != "" {
		if after, err = parseDigest(last); err != nil {
			return err
		}
	}
	if r.Method == http.MethodHead {
		// There is always a list. What its length and its next page are is only known once it was made (RFC 9110, 9.3.2).
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	all, next, err := r.repository.Referrers(r.Context(), subject, after, maxReferrers)
	if err != nil {
		return err
	}
	wanted := query.Get("artifactType")
	index := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []json.RawMessage `json:"manifests"`
	}{2, ocispec.MediaTypeImageIndex, []json.RawMessage{}}
	for _, d := range all {
		if wanted == "" || d.ArtifactType == wanted {
			index.Manifests = append(index.Manifests, d.Entry)
		}
	}
	if wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if next != "" {
		query.Set("last", next.String())
		s.link(w, r, "/"+r.name+"/referrers/"+subject.String(), query)
	}
	writeJSON(typed{w, ocispec.MediaTypeImageIndex}, http.StatusOK, index)
	return nil
}

// typed replaces the Content-Type that a helper sets.
type typed struct {
	http.ResponseWriter
	mediaType string
}

func (t typed) WriteHeader(status int) {
	t.Header().Set("Content-Type", t.mediaType)
	t.ResponseWriter.WriteHeader(status)
}
