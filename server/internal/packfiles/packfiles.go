// Package packfiles is the files inside of a pack's archive: the list of them, as it is stored and answered, and one of them that is sent.
//
//	packfiles.go  the list
//	send.go       one file
package packfiles

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"packregistry.dev/pack"
)

// ErrUnknown says that a pack has no such file.
var ErrUnknown = errors.New("the pack has no such file")

// Encode writes a list down.
func Encode(files []pack.File) ([]byte, error) {
	if files == nil {
		files = []pack.File{}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // which takes six bytes for one, and this is not shown as HTML
	err := encoder.Encode(map[string][]pack.File{"files": files})
	return text.Bytes(), err
}

// Decode reads a whole list.
func Decode(list io.Reader) ([]pack.File, error) {
	var found struct {
		Files []pack.File `json:"files"`
	}
	err := json.NewDecoder(list).Decode(&found)
	return found.Files, err
}

// Size returns the size of a file. The list is read one entry after the other, up to that file.
func Size(list io.Reader, name string) (int64, error) {
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
	return 0, ErrUnknown
}

// List makes the list of an archive.
func List(ctx context.Context, archive io.Reader) (files []pack.File, err error) {
	err = pack.Walk(ctx, archive, func(name string, size int64, _ io.Reader) error {
		files = append(files, pack.File{Name: name, Size: size})
		return nil
	})
	return files, err
}
