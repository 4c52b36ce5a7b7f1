package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/internal/packfiles"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/store"
)

// This file is the list of a pack's files. It is made when the pack is pushed, and is a blob of the repository that belongs to the
// manifest, as the logo does; so a collection keeps it as long as the manifest. Its content is what a client is answered.

// listName is the list's name among the files of a manifest. No file of a pack can be called so.
const listName = "*"

// longList is from which size, in bytes, on a list is looked through in one of the places for unpacking.
const longList = 64 << 10

// fileList is a list that is open for reading.
type fileList struct {
	io.ReadCloser
	size int64
}

// putFileList stores a list of the files that are in an archive.
func putFileList(ctx context.Context, to *store.Repository, archive digest.Digest, files []pack.File) (store.File, error) {
	text, err := packfiles.Encode(files)
	if err != nil {
		return store.File{}, err
	}
	d, err := to.PutBlob(ctx, text)
	return store.File{Name: listName, Digest: d, Size: int64(len(text)), Archive: archive}, err
}

// listOf returns what is recorded of a manifest's list of files; its name is empty where nothing is.
func listOf(m *store.Manifest) store.File {
	for _, file := range m.Files {
		if file.Name == listName {
			return file
		}
	}
	return store.File{}
}

// archiveOf finds the archive of a pack's manifest. It stands with the list of files; where it does not the manifest is read, and takes
// its share of the memory for manifests.
func (s *Server) archiveOf(r *request, head *store.Manifest) (digest.Digest, error) {
	if archive := listOf(head).Archive; archive != "" {
		return archive, nil
	}
	m, done, err := s.readHeld(r, head)
	if err != nil {
		return "", err
	}
	defer done()
	parsed, err := place(r, s.unpacks, "http.limits.unpacks") // and not one of those that pushes need
	if err != nil {
		return "", err
	}
	defer parsed()
	task, err := s.begin(r)
	if err != nil {
		return "", err
	}
	defer task.End()
	c, err := store.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return "", fail(codeNotFound, "%s is no pack", r.param)
	}
	layer, err := archiveLayer(c)
	if err != nil {
		return "", fail(codeNotFound, "%s is no pack", r.param)
	}
	return layer.Digest, nil
}

// fileList opens the list of files of a manifest. Where there is none (the pack was pushed to an earlier version, or was not
// validated) it is made of the archive, once, and recorded.
func (s *Server) fileList(r *request, m *store.Manifest, archive digest.Digest) (fileList, error) {
	if known := listOf(m); known.Name != "" {
		blob, err := r.repository.Blob(r.Context(), known.Digest)
		if err == nil {
			if known.Archive == "" {
				known.Archive = archive
				s.recordList(r, m, known)
			}
			return fileList{blob, known.Size}, nil
		}
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrDamaged) {
			return fileList{}, err
		}
	}
	done, err := place(r, s.unpacks, "http.limits.unpacks")
	if err != nil {
		return fileList{}, err
	}
	defer done()
	blob, err := r.repository.Blob(r.Context(), archive)
	if err != nil {
		return fileList{}, as(codeBlobUnknown, err)
	}
	defer blob.Close()
	files, err := s.listFiles(r, blob)
	if err != nil {
		return fileList{}, err
	}
	if !s.config.Storage.Maintenance.ReadOnly.Enabled {
		list, err := putFileList(r.Context(), r.repository, archive, files)
		if err != nil {
			s.log.Debug("the list of a pack's files was not kept", "repository", r.repository.Name(), "manifest", m.Digest, "error", err)
		} else {
			s.recordList(r, m, list)
		}
	}
	text, err := packfiles.Encode(files)
	return fileList{io.NopCloser(bytes.NewReader(text)), int64(len(text))}, err
}

// recordList keeps a list for whoever asks next. Where that fails it is made again.
func (s *Server) recordList(r *request, m *store.Manifest, list store.File) {
	if s.config.Storage.Maintenance.ReadOnly.Enabled {
		return
	}
	done, err := s.hold(r, m) // its record is written anew as a whole
	if err != nil {
		return
	}
	defer done()
	if err := r.repository.RecordFile(r.Context(), m.Digest, list); err != nil {
		s.log.Debug("the list of a pack's files was not kept", "repository", r.repository.Name(), "manifest", m.Digest, "error", err)
	}
}

func (s *Server) listFiles(r *request, archive io.Reader) ([]pack.File, error) {
	task, err := s.begin(r)
	if err != nil {
		return nil, err
	}
	defer task.End()
	return packfiles.List(r.Context(), task.Reader(archive))
}

// sendList answers with a list as it is.
func sendList(w http.ResponseWriter, r *request, list fileList) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.FormatInt(list.size, 10))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := io.Copy(w, struct{ io.Reader }{list})
	return err
}

// findListed returns the size of a file. Only so many look through a long list at once.
func (s *Server) findListed(r *request, list fileList, name string) (size int64, err error) {
	content := io.Reader(list)
	if list.size > longList {
		done, err := place(r, s.unpacks, "http.limits.unpacks")
		if err != nil {
			return 0, err
		}
		defer done()
		task, err := s.begin(r)
		if err != nil {
			return 0, err
		}
		defer task.End()
		content = task.Reader(list)
	}
	if size, err = packfiles.Size(content, name); errors.Is(err, packfiles.ErrUnknown) {
		return 0, fail(codeNotFound, "the pack has no file %q", telemetry.Clip(name))
	}
	return size, err
}
