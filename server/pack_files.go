package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"packregistry.dev/pack"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/internal/transfer"
	"packregistry.dev/server/store"
)

// fileTypes are what files of a pack are shown as. Everything else is kept instead of shown: a pack must not be able to
// run script on the registry's origin.
var fileTypes = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".ico": "image/x-icon",
	".json": "application/json", ".yaml": "application/yaml", ".yml": "application/yaml",
	".txt": "text/plain", ".md": "text/plain", ".tpl": "text/plain", ".sh": "text/plain",
}

// listedFile is an entry of a pack's list of files.
type listedFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// getFiles lists the files of a pack's archive, or serves one of them, streamed from the archive.
func (s *Server) getFiles(w http.ResponseWriter, r *request) error {
	reference, name, _ := strings.Cut(r.param, "/")
	r.param = reference
	m, err := s.find(r)
	if err != nil {
		return err
	}
	c, err := store.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return fail(codeNotFound, "%s is no pack", reference)
	}
	layer, err := archiveLayer(c)
	if err != nil {
		return fail(codeNotFound, "%s is no pack", reference)
	}
	w.Header().Set("Docker-Content-Digest", m.Digest.String())
	// A tag may name another pack later; files of a digest stay.
	w.Header().Set("Cache-Control", "private, no-cache")
	w.Header().Set("Etag", `"`+m.Digest.String()+`"`)
	if r.Header.Get("If-None-Match") == w.Header().Get("Etag") {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	done, err := place(w, r, s.unpacks, "http.limits.unpacks")
	if err != nil {
		return err
	}
	done = sync.OnceFunc(done)
	defer done()
	archive, err := r.repository.Blob(r.Context(), layer.Digest)
	if err != nil {
		return as(codeBlobUnknown, err)
	}
	defer archive.Close()
	if name == "" {
		files, err := listFiles(r.Context(), archive)
		if err != nil {
			return err
		}
		done()
		writeJSON(w, http.StatusOK, map[string][]listedFile{"files": files})
		return nil
	}
	return sendFile(w, r, archive, name, done)
}

func listFiles(ctx context.Context, archive io.Reader) ([]listedFile, error) {
	files := []listedFile{}
	err := pack.Walk(ctx, archive, func(name string, size int64, _ io.Reader) error {
		files = append(files, listedFile{name, size})
		return nil
	})
	return files, err
}

// maxHeldFile is up to which size, in bytes, a file is unpacked as a whole before it is sent.
const maxHeldFile = 256 << 10

// sendFile sends a file of an archive. unpacked is called once nothing more is to be unpacked: a small file is sent after
// that, in the client's own time; the client of a larger one must keep pace.
func sendFile(w http.ResponseWriter, r *request, archive io.Reader, wanted string, unpacked func()) error {
	found := false
	var small []byte
	err := pack.Walk(r.Context(), archive, func(name string, size int64, content io.Reader) (err error) {
		if name != wanted {
			return nil
		}
		if size <= maxHeldFile && r.Method != http.MethodHead {
			if small, err = io.ReadAll(content); err != nil {
				return err
			}
		}
		found = true
		showAs(w.Header(), fileTypes[strings.ToLower(path.Ext(name))])
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		w.WriteHeader(http.StatusOK)
		if size > maxHeldFile && r.Method != http.MethodHead {
			if err := transfer.CopyPaced(w, content); err != nil {
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
		return fail(codeNotFound, "the pack has no file %q", telemetry.Clip(wanted))
	}
	unpacked()
	_, err = io.Copy(w, struct{ io.Reader }{bytes.NewReader(small)}) // in pieces, each with its own deadline
	return err
}
