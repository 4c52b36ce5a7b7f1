package server

import (
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxReferrers bounds a page of referrers; descriptors carry annotations of any length.
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
	all, next, err := r.repository.Referrers(r.Context(), subject, after, maxReferrers)
	if err != nil {
		return err
	}
	list := all
	if wanted := query.Get("artifactType"); wanted != "" {
		list = nil
		for _, d := range all {
			if d.ArtifactType == wanted {
				list = append(list, d)
			}
		}
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if next != "" {
		query.Set("last", next.String())
		s.link(w, r, "/"+r.name+"/referrers/"+subject.String(), query)
	}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: append([]ocispec.Descriptor{}, list...)}
	index.SchemaVersion = 2
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
