package store

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/store/driver/s3"
)

// everyDriver runs a test on each kind of storage.
func everyDriver(t *testing.T, test func(t *testing.T, d driver.Driver)) {
	server := testserver.StartS3(t)
	for name, open := range map[string]func() (driver.Driver, error){
		"in memory":   func() (driver.Driver, error) { return inmemory.New(), nil },
		"file system": func() (driver.Driver, error) { return filesystem.New(testserver.MemoryDir(t)) },
		"s3": func() (driver.Driver, error) {
			return s3.New(t.Context(), s3.Options{Bucket: server.Bucket(t), Endpoint: server.Endpoint, PathStyle: true, Region: server.Region,
				AccessKey: server.AccessKey, SecretKey: server.SecretKey})
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := open()
			must(t, err)
			test(t, d)
		})
	}
}

// endless is a driver whose process dies as it notes that an upload is over.
type endless struct {
	driver.Driver
	dead bool
}

func (e *endless) Unwrap() driver.Driver { return e.Driver }

func (e *endless) Create(ctx context.Context, key string, data []byte, d driver.Durability) error {
	if e.dead = e.dead || strings.HasSuffix(key, "/"+uploadOver); e.dead {
		return errCrashed
	}
	return e.Driver.Create(ctx, key, data, d)
}

// A process dies as it writes that an upload is over; the blob, which nothing refers to, is collected; the client makes the
// same PUT again. It is answered that the blob is not there, or the blob is there, whole.
func TestAnUploadIsEndedAgainAfterItsBlobWasCollected(t *testing.T) {
	everyDriver(t, func(t *testing.T, disk driver.Driver) {
		for name, rest := range map[string]string{"the rest in the PUT": "three", "all in steps": ""} {
			t.Run(name, func(t *testing.T) {
				first := "one two, " + name
				whole := first + rest
				d := digest.FromString(whole)
				ctx := t.Context()
				dying, err := Open(ctx, &endless{Driver: disk})
				must(t, err)
				r := dying.Repository("r")
				u, err := r.NewUpload(digest.SHA256)
				must(t, err)
				must(t, u.Append(ctx, strings.NewReader(first)))
				if err := u.Commit(ctx, strings.NewReader(rest), d); !errors.Is(err, errCrashed) {
					t.Fatal(err)
				}
				s, err := Open(ctx, disk)
				must(t, err)
				for range 5 {
					collect(t, s, Collection{})
				}
				r = s.Repository("r")
				if _, err := r.StatBlob(ctx, d); !errors.Is(err, ErrNotFound) {
					t.Fatalf("it was not collected: %v", err)
				}
				again, err := r.Upload(ctx, u.id)
				if err == nil {
					err = again.Commit(ctx, strings.NewReader(rest), d)
				}
				if err == nil {
					if got := readBlob(t, r, d); got != whole {
						t.Errorf("%q", got)
					}
				} else if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrTryAgain) {
					t.Error(err)
				}
				// And whatever is left, a whole push makes it good.
				_, err = upload(ctx, r, whole)
				must(t, err)
				if got := readBlob(t, r, d); got != whole {
					t.Errorf("%q", got)
				}
				wantNoProblems(t, s)
			})
		}
	})
}

func wantNoProblems(t *testing.T, s *Store) {
	t.Helper()
	done, err := s.Verify(t.Context(), Verification{Found: func(p Problem) { t.Errorf("%+v", p) }})
	must(t, err)
	if done.Problems > 0 {
		t.Errorf("%+v", done)
	}
}

// Bytes that an object stands for and that are gone are a problem of that object; pushing the blob once more heals it.
func TestMissingSegmentsAreFoundAndHealed(t *testing.T) {
	server := testserver.StartS3(t)
	d, err := s3.New(t.Context(), s3.Options{Bucket: server.Bucket(t), Endpoint: server.Endpoint, PathStyle: true, Region: server.Region,
		AccessKey: server.AccessKey, SecretKey: server.SecretKey})
	must(t, err)
	ctx := t.Context()
	s, err := Open(ctx, d)
	must(t, err)
	r := s.Repository("r")
	blobs := map[string]digest.Digest{}
	for _, content := range []string{"healed by a push", "healed by quarantine"} {
		blobs[content] = digest.FromString(content)
		u, err := r.NewUpload(digest.SHA256)
		must(t, err)
		must(t, u.Append(ctx, strings.NewReader(content)))
		must(t, u.Commit(ctx, strings.NewReader(""), blobs[content]))
	}
	wantNoProblems(t, s)
	must(t, s.each(ctx, "o/", func(id string) error {
		return s.each(ctx, "o/"+id, func(name string) error { return d.Delete(ctx, "o/"+id+name) })
	}))
	problems := map[digest.Digest]string{}
	done, err := s.Verify(ctx, Verification{Found: func(p Problem) { problems[p.Digest] = p.Kind }})
	must(t, err)
	if done.Problems != 2 || problems[blobs["healed by a push"]] != "missing-data" || problems[blobs["healed by quarantine"]] != "missing-data" {
		t.Errorf("%+v, %v", done, problems)
	}
	_, err = upload(ctx, r, "healed by a push")
	if errors.Is(err, ErrTryAgain) {
		_, err = upload(ctx, r, "healed by a push")
	}
	must(t, err)
	_, err = s.Verify(ctx, Verification{Quarantine: true})
	must(t, err)
	_, err = upload(ctx, s.Repository("other"), "healed by quarantine")
	must(t, err)
	for content, name := range map[string]string{"healed by a push": "r", "healed by quarantine": "other"} {
		if got := readBlob(t, s.Repository(name), blobs[content]); got != content {
			t.Errorf("%q", got)
		}
	}
	wantNoProblems(t, s)
}
