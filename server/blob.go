package server

import (
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/internal/transfer"
	"packregistry.dev/server/store"
)

func parseDigest(s string) (digest.Digest, error) {
	d := digest.Digest(s)
	if !store.SupportedDigest(d) {
		return "", fail(codeDigestInvalid, "%q is no sha256 or sha512 digest", s)
	}
	return d, nil
}

func (s *Server) getBlob(w http.ResponseWriter, r *request) error {
	d, err := parseDigest(r.param)
	if err != nil {
		return err
	}
	asked := r.URL.Query().Get("type")
	h := w.Header()
	if r.Method == http.MethodGet && asked == "" {
		address, err := r.repository.BlobURL(r.Context(), d)
		if err != nil {
			return as(codeBlobUnknown, err)
		}
		if address != "" {
			h.Set("Docker-Content-Digest", d.String())
			h.Set("Cache-Control", "no-store") // the address is good for a while only
			h.Set("Location", address)         // without the page that http.Redirect writes
			w.WriteHeader(http.StatusTemporaryRedirect)
			return nil
		}
	}
	content, size, modified, err := blobContent(r, d)
	if err != nil {
		return as(codeBlobUnknown, err)
	}
	defer content.Close()
	h["Content-Type"] = octetStream
	if asked != "" {
		showAs(h, asked)
	}
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Etag", `"`+d.String()+`"`)
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	transfer.ServeContent(w, r.Request, modified, size, content)
	return nil
}

// blobContent opens a blob. Who asks for its size alone does not make the storage begin to send it.
func blobContent(r *request, d digest.Digest) (content io.ReadSeekCloser, size int64, modified time.Time, err error) {
	if r.Method == http.MethodHead {
		size, err := r.repository.StatBlob(r.Context(), d)
		return sizeOnly{io.NewSectionReader(nil, 0, size)}, size, time.Time{}, err
	}
	blob, err := r.repository.Blob(r.Context(), d)
	if err != nil {
		return nil, 0, time.Time{}, err
	}
	return blob, blob.Info().Size, blob.Info().ModTime, nil
}

// sizeOnly stands for content that nobody reads.
type sizeOnly struct{ *io.SectionReader }

func (sizeOnly) Close() error { return nil }

func (s *Server) deleteBlob(w http.ResponseWriter, r *request) error {
	d, err := parseDigest(r.param)
	if err != nil {
		return err
	}
	if err := r.repository.DeleteBlob(r.Context(), d); err != nil {
		return as(codeBlobUnknown, err)
	}
	s.audit(r, "blob deleted", "digest", d)
	w.WriteHeader(http.StatusAccepted)
	return nil
}
