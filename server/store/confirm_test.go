package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver/filesystem"
)

// onDisk opens a store in a folder and returns it with the path of the bytes of a content.
func onDisk(t *testing.T) (s *Store, path func(content string) string) {
	t.Helper()
	root := t.TempDir()
	d, err := filesystem.New(root)
	must(t, err)
	s, err = Open(t.Context(), d)
	must(t, err)
	return s, func(content string) string {
		return filepath.Join(root, "objects", filepath.FromSlash(dataKey(digest.FromString(content), 0)))
	}
}

// Bytes that a crash or a disk left short do not count as stored when somebody pushes the whole.
func TestAPushHealsBytesOfAnotherSize(t *testing.T) {
	for _, left := range []string{"", "too short", "much longer than the content of it"} {
		t.Run(left, func(t *testing.T) {
			s, path := onDisk(t)
			const content = "the whole content"
			first := s.Repository("first")
			_, err := upload(t.Context(), first, content)
			must(t, err)
			must(t, os.WriteFile(path(content), []byte(left), 0o600))
			pushes := map[string]func() error{
				"an upload":    func() error { _, err := upload(t.Context(), s.Repository("second"), content); return err },
				"a small blob": func() error { _, err := s.Repository("third").PutBlob(t.Context(), []byte(content)); return err },
				"again":        func() error { _, err := upload(t.Context(), first, content); return err },
			}
			for _, name := range []string{"an upload", "a small blob", "again"} {
				err := pushes[name]()
				if errors.Is(err, ErrTryAgain) {
					err = pushes[name]()
				}
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			for _, name := range []string{"first", "second", "third"} {
				if got := readBlob(t, s.Repository(name), digest.FromString(content)); got != content {
					t.Errorf("%s has %q", name, got)
				}
			}
		})
	}
}

// A commit whose process died when the bytes had their key is finished by the same request made again, but only where
// those bytes are the ones that the client has.
func TestACommitThatWasInterruptedIsFinished(t *testing.T) {
	const content = "one two three"
	d := digest.FromString(content)
	for name, tt := range map[string]struct {
		left    string // at the key
		rest    string // of the client
		commits bool
	}{
		"the same bytes":             {content, "three", true},
		"bytes of the same size":     {"one two thr33", "three", false},
		"fewer bytes":                {"one two ", "three", false},
		"a client with another rest": {content, "other", false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s, path := onDisk(t)
			r := s.Repository("r")
			u, err := r.NewUpload(digest.SHA256)
			must(t, err)
			must(t, u.Append(ctx, strings.NewReader("one two ")))
			stream, err := s.d.Stream(ctx, u.id, u.step.Stream)
			must(t, err)
			must(t, errors.Join(stream.Commit(ctx, dataKey(d, 0)), stream.Close()))
			must(t, os.WriteFile(path(content), []byte(tt.left), 0o600))

			again, err := r.Upload(ctx, u.id)
			must(t, err)
			err = again.Commit(ctx, strings.NewReader(tt.rest), d)
			if tt.commits {
				must(t, err)
				if got := readBlob(t, r, d); got != content {
					t.Errorf("%q", got)
				}
				if _, err := r.Upload(ctx, u.id); !errors.Is(err, ErrNotFound) {
					t.Errorf("the upload is not over: %v", err)
				}
				return
			}
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%v", err)
			}
			if _, err := r.StatBlob(ctx, d); !errors.Is(err, ErrNotFound) {
				t.Errorf("the blob is there: %v", err)
			}
			_, err = upload(ctx, r, content)
			if errors.Is(err, ErrTryAgain) {
				_, err = upload(ctx, r, content)
			}
			must(t, err)
		})
	}
}
