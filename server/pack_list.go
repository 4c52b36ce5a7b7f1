package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/store"
)

// This file is the list of a pack's files. It is made when the pack is pushed, and is a blob of the repository that belongs to the
// manifest, as the logo does; so a collection keeps it as long as the manifest. Its content is what a client is answered.

// listName is the list's name among the files of a manifest. No file of a pack can be called so.
const listName = "*"

// fileList is a list that is open for reading.
type fileList struct {
	io.ReadCloser
	size int64
}

func encodeList(files []pack.File) ([]byte, error) {
	if files == nil {
		files = []pack.File{}
	}
	text, err := json.Marshal(map[string][]pack.File{"files": files})
	return append(text, '\n'), err
}

// putFileList stores a list of files.
func putFileList(ctx context.Context, to *store.Repository, files []pack.File) (store.File, error) {
	text, err := encodeList(files)
	if err != nil {
		return store.File{}, err
	}
	d, err := to.PutBlob(ctx, text)
	return store.File{Name: listName, Digest: d, Size: int64(len(text))}, err
}

// fileList opens the list of files of a manifest. Where there is none (the pack was pushed to an earlier version, or was not
// validated) it is made of the archive, once, and recorded.
func (s *Server) fileList(r *request, m *store.Manifest, archive digest.Digest) (fileList, error) {
	for _, file := range m.Files {
		if file.Name != listName {
			continue
		}
		blob, err := r.repository.Blob(r.Context(), file.Digest)
		if err == nil {
			return fileList{blob, file.Size}, nil
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
	files, err := listFiles(r.Context(), blob)
	if err != nil {
		return fileList{}, err
	}
	if !s.config.Storage.Maintenance.ReadOnly.Enabled {
		s.recordList(r, m, files)
	}
	text, err := encodeList(files)
	return fileList{io.NopCloser(bytes.NewReader(text)), int64(len(text))}, err
}

// recordList keeps a list for whoever asks next. Where that fails it is made again.
func (s *Server) recordList(r *request, m *store.Manifest, files []pack.File) {
	list, err := putFileList(r.Context(), r.repository, files)
	if err == nil {
		err = r.repository.RecordFile(r.Context(), m.Digest, list)
	}
	if err != nil {
		s.log.Debug("the list of a pack's files was not kept", "repository", r.repository.Name(), "manifest", m.Digest, "error", err)
	}
}

func listFiles(ctx context.Context, archive io.Reader) ([]pack.File, error) {
	var files []pack.File
	err := pack.Walk(ctx, yielding(archive), func(name string, size int64, _ io.Reader) error {
		files = append(files, pack.File{Name: name, Size: size})
		return nil
	})
	return files, err
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

// findFile returns the size of a file. The list is read one entry after the other, up to that file.
func findFile(list io.Reader, name string) (int64, error) {
	decoder := json.NewDecoder(list)
	for range 3 { // {"files":[
		if _, err := decoder.Token(); err != nil {
			return 0, err
		}
	}
	for decoder.More() {
		var file pack.File
		if err := decoder.Decode(&file); err != nil {
			return 0, err
		}
		if file.Name == name {
			return file.Size, nil
		}
	}
	return 0, fail(codeNotFound, "the pack has no file %q", telemetry.Clip(name))
}
