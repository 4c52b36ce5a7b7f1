package server

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store"
)

// inlineTypes are the media types that ?type= may make the server claim. Anything else would let a pack run script on
// the registry's origin.
var inlineTypes = map[string]bool{
	"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "image/x-icon": true,
	"text/plain": true, "application/json": true, "application/yaml": true, "text/yaml": true,
}

// showAs makes a browser show content as what it is said to be, if that is harmless, and else keep it.
func showAs(h http.Header, mediaType string) {
	h.Set("X-Content-Type-Options", "nosniff")
	mediaType = strings.ToLower(mediaType)
	if inlineTypes[mediaType] {
		h.Set("Content-Type", mediaType)
		return
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment")
}

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
			http.Redirect(w, r.Request, address, http.StatusTemporaryRedirect)
			return nil
		}
	}
	content, modified, err := blobContent(r, d)
	if err != nil {
		return as(codeBlobUnknown, err)
	}
	defer content.Close()
	h.Set("Content-Type", "application/octet-stream")
	if asked != "" {
		showAs(h, asked)
	}
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Etag", `"`+d.String()+`"`)
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	http.ServeContent(w, r.Request, "", modified, content)
	return nil
}

// blobContent opens a blob. Who asks for its size alone does not make the storage begin to send it.
func blobContent(r *request, d digest.Digest) (io.ReadSeekCloser, time.Time, error) {
	if r.Method == http.MethodHead {
		size, err := r.repository.StatBlob(r.Context(), d)
		return sizeOnly{io.NewSectionReader(nil, 0, size)}, time.Time{}, err
	}
	blob, err := r.repository.Blob(r.Context(), d)
	if err != nil {
		return nil, time.Time{}, err
	}
	return blob, blob.Info().ModTime, nil
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
