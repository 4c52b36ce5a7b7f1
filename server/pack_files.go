package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"packregistry.dev/pack"
	"packregistry.dev/server/internal/transfer"
	"packregistry.dev/server/internal/work"
)

// fileTypes are what files of a pack are shown as. Everything else is kept instead of shown: a pack must not be able to
// run script on the registry's origin.
var fileTypes = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".ico": "image/x-icon",
	".json": "application/json", ".yaml": "application/yaml", ".yml": "application/yaml",
	".txt": "text/plain", ".md": "text/plain", ".tpl": "text/plain", ".sh": "text/plain",
}

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
	showAs(w.Header(), fileTypes[strings.ToLower(path.Ext(name))])
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
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
	return sendFile(w, r, task, content, name, done)
}

// maxHeldFile is up to which size, in bytes, a file is unpacked as a whole before it is sent.
const maxHeldFile = 256 << 10

// sendFile sends a file of an archive, which is task. unpacked is called once nothing more is to be unpacked: a small file is sent after
// that, in the client's own time; the client of a larger one must keep pace.
func sendFile(w http.ResponseWriter, r *request, task *work.Task, archive io.Reader, wanted string, unpacked func()) error {
	found := false
	var small []byte
	err := pack.Walk(r.Context(), task.Reader(archive), func(name string, size int64, content io.Reader) (err error) {
		if name != wanted {
			return nil
		}
		if size <= maxHeldFile {
			if small, err = io.ReadAll(content); err != nil {
				return err
			}
		}
		found = true
		w.WriteHeader(http.StatusOK)
		if size > maxHeldFile {
			if err := transfer.CopyPaced(w, content, task); err != nil {
				return err
			}
		}
		return pack.ErrStop
	})
	var invalid *pack.Error
	switch {
	case found && errors.As(err, &invalid):
		return nil // what was asked for is sent; what is wrong with the rest is not this request's matter
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("the list of files has %q, which the archive lacks", wanted)
	}
	task.End()
	unpacked()
	_, err = io.Copy(w, struct{ io.Reader }{bytes.NewReader(small)}) // in pieces, each with its own deadline
	return err
}
