package client

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// uploadState is a file that says where an upload goes on, for a process that comes after this one. Its path is empty where nobody
// keeps such files.
type uploadState struct{ path string }

// uploadAge is how long such files are kept; registries forget uploads after a week.
const uploadAge = 7 * 24 * time.Hour

func newUploadState(dir, host, repository string, blob digest.Digest) uploadState {
	if dir == "" {
		return uploadState{}
	}
	return uploadState{filepath.Join(dir, digest.FromString(host+"/"+repository+"@"+blob.String()).Encoded())}
}

type uploadFile struct {
	Location string `json:"location"`
}

// claim returns where the upload goes on, nil for nowhere. The file is taken away: of two processes one alone may go on with it.
func (s uploadState) claim() *url.URL {
	if s.path == "" {
		return nil
	}
	removeOld(filepath.Dir(s.path))
	claimed, err := os.CreateTemp(filepath.Dir(s.path), ".claim-")
	if err != nil {
		return nil
	}
	claimed.Close()
	defer os.Remove(claimed.Name())
	if os.Rename(s.path, claimed.Name()) != nil {
		return nil
	}
	text, err := os.ReadFile(claimed.Name())
	var file uploadFile
	if err != nil || json.Unmarshal(text, &file) != nil {
		return nil
	}
	location, err := url.Parse(file.Location)
	if err != nil {
		return nil
	}
	return location
}

// keep notes where the upload goes on. Without the note another process begins anew, so that a folder which cannot be written to fails no push.
func (s uploadState) keep(location *url.URL) {
	if s.path == "" {
		return
	}
	if text, err := json.Marshal(uploadFile{location.String()}); err == nil {
		writePrivate(s.path, text) //nolint:errcheck // see above
	}
}

func (s uploadState) forget() {
	if s.path != "" {
		os.Remove(s.path)
	}
}

// removeOld takes away what nobody came back for.
func removeOld(dir string) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && time.Since(info.ModTime()) > uploadAge {
			os.Remove(filepath.Join(dir, f.Name()))
		}
	}
}
