package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store"
)

// startUpload begins an upload, takes a blob over from another repository, or stores a whole blob at once.
func (s *Server) startUpload(w http.ResponseWriter, r *request) error {
	query := r.URL.Query()
	if mount := query.Get("mount"); mount != "" {
		done, err := s.mountBlob(w, r, mount, query.Get("from"))
		if done || err != nil {
			return err
		}
	}
	algorithm := digest.SHA256
	if named := query.Get("digest-algorithm"); named != "" {
		algorithm = digest.Algorithm(named)
		if algorithm != digest.SHA256 && algorithm != digest.SHA512 {
			return fail(codeDigestInvalid, "digest-algorithm %q: use sha256 or sha512", named)
		}
	}
	var whole digest.Digest
	if asked := query.Get("digest"); asked != "" {
		var err error
		if whole, err = parseDigest(asked); err != nil {
			return err
		}
		algorithm = whole.Algorithm()
	}
	if whole != "" {
		if err := r.repository.PutStream(r.Context(), r.Body, whole); err != nil {
			return uploadError(err)
		}
		s.created(w, r, "blobs/"+whole.String(), whole)
		return nil
	}
	upload, err := r.repository.NewUpload(algorithm)
	if err != nil {
		return err
	}
	s.accepted(w, r, upload)
	return nil
}

// mountBlob says whether it has answered. Where the blob cannot be mounted an ordinary upload begins instead.
func (s *Server) mountBlob(w http.ResponseWriter, r *request, mount, from string) (bool, error) {
	d, err := parseDigest(mount)
	if err != nil {
		return false, err
	}
	if from == "" {
		return false, nil
	}
	// From names a repository as the path of the same API does.
	from = s.repositoryName(r.api, from)
	// Nothing can be mounted from what is no repository's name. Whoever may not read the repository learns nothing of it.
	if !store.ValidName(from) || !s.mayPull(r, from) {
		return false, nil
	}
	err = r.repository.MountBlob(r.Context(), s.store.Repository(from), d)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.created(w, r, "blobs/"+d.String(), d)
	return true, nil
}

func (s *Server) upload(r *request) (*store.Upload, error) {
	u, err := r.repository.Upload(r.Context(), r.param)
	return u, as(codeUploadUnknown, err)
}

func (s *Server) uploadStatus(w http.ResponseWriter, r *request) error {
	u, err := s.upload(r)
	if err != nil {
		return err
	}
	s.uploadHeaders(w, r, u)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// checkRange compares a chunk's Content-Range (RFC 9110 without its unit, as the specification has it) with where the
// upload stands.
func checkRange(r *request, u *store.Upload) error {
	given := r.Header.Get("Content-Range")
	if given == "" {
		return nil
	}
	from, to, ok := strings.Cut(strings.TrimPrefix(given, "bytes "), "-")
	to, _, _ = strings.Cut(to, "/")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	if !ok || err1 != nil || err2 != nil || first < 0 || last < first-1 {
		return fail(codeUploadInvalid, "Content-Range %q is not of the form 0-99", given)
	}
	if r.ContentLength >= 0 && r.ContentLength != last-first+1 {
		return fail(codeUploadInvalid, "Content-Range %q does not fit Content-Length %d", given, r.ContentLength)
	}
	if first != u.Offset() {
		return fail(codeRangeInvalid, "the chunk begins at %d, the upload stands at %d", first, u.Offset())
	}
	return nil
}

func (s *Server) appendUpload(w http.ResponseWriter, r *request) error {
	u, err := s.upload(r)
	if err != nil {
		return err
	}
	if err := checkRange(r, u); err != nil {
		s.uploadHeaders(w, r, u)
		return err
	}
	if err := u.Append(r.Context(), r.Body); err != nil {
		return uploadError(err)
	}
	s.accepted(w, r, u)
	return nil
}

func (s *Server) finishUpload(w http.ResponseWriter, r *request) error {
	d, err := parseDigest(r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	u, err := s.upload(r)
	if err != nil {
		return err
	}
	if err := checkRange(r, u); err != nil {
		s.uploadHeaders(w, r, u)
		return err
	}
	if err := u.Commit(r.Context(), r.Body, d); err != nil {
		return uploadError(err)
	}
	s.created(w, r, "blobs/"+d.String(), d)
	return nil
}

func (s *Server) cancelUpload(w http.ResponseWriter, r *request) error {
	u, err := s.upload(r)
	if err != nil {
		return err
	}
	if err := u.Cancel(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// uploadError names an upload that went away in the middle.
func uploadError(err error) error { return as(codeUploadUnknown, err) }

func (s *Server) uploadHeaders(w http.ResponseWriter, r *request, u *store.Upload) {
	h := w.Header()
	h.Set("Location", s.location(r, "/"+r.name+"/blobs/uploads/"+u.ID()))
	h.Set("Docker-Upload-Uuid", u.ID())
	// An upload that holds nothing has no last byte; "0-0" is what clients read as empty.
	h.Set("Range", fmt.Sprintf("0-%d", max(u.Offset()-1, 0)))
}

func (s *Server) accepted(w http.ResponseWriter, r *request, u *store.Upload) {
	s.uploadHeaders(w, r, u)
	w.WriteHeader(http.StatusAccepted)
}

func (s *Server) created(w http.ResponseWriter, r *request, path string, d digest.Digest) {
	w.Header().Set("Location", s.location(r, "/"+r.name+"/"+path))
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
}
