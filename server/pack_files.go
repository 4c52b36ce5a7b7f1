package server

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/internal/packfiles"
	"packregistry.dev/server/internal/work"
)

// getFiles lists the files of a pack, or serves one of them, streamed from the archive. What is there is known from the pack's
// list of files: the archive is unpacked only to send something of it.
func (s *Server) getFiles(w http.ResponseWriter, r *request) error {
	reference, name, _ := strings.Cut(r.param, "/")
	r.param = reference
	m, err := findHead(r)
	if err != nil {
		return err
	}
	archive, err := s.archiveOf(r, m)
	if err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", m.Digest.String())
	// A tag may name another pack later; files of a digest stay.
	w.Header().Set("Cache-Control", "private, no-cache")
	w.Header().Set("Etag", `"`+m.Digest.String()+`"`)
	if r.Header.Get("If-None-Match") == w.Header().Get("Etag") {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	list, err := s.fileList(r, m, archive)
	if err != nil {
		return err
	}
	defer list.Close() //nolint:errcheck // it was only read
	if name == "" {
		return sendList(w, r, list)
	}
	size, err := s.findListed(r, list, name)
	if err != nil {
		return err
	}
	showAs(w.Header(), packfiles.ShownAs(name))
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return s.unpack(r, archive, func(content io.Reader, task *work.Task, done func()) error {
		return packfiles.Send(r.Context(), w, task, content, name, done)
	})
}

// unpack opens an archive for read, in one of the places for unpacking, as a task of the gate. read may give up the place early, by done.
func (s *Server) unpack(r *request, archive digest.Digest, read func(content io.Reader, task *work.Task, done func()) error) error {
	done, err := place(r, s.unpacks, "http.limits.unpacks")
	if err != nil {
		return err
	}
	done = sync.OnceFunc(done)
	defer done()
	content, err := r.repository.Blob(r.Context(), archive)
	if err != nil {
		return as(codeBlobUnknown, err)
	}
	defer content.Close()
	task, err := s.begin(r)
	if err != nil {
		return err
	}
	defer task.End()
	return read(content, task, done)
}
