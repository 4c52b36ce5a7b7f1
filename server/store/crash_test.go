package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
)

var errCrashed = errors.New("the process is dead")

// crashing is a driver whose process dies before its n-th call that writes, or right after it, before anybody hears of
// its success. What was not synced is lost with it.
type crashing struct {
	driver.Driver
	left  atomic.Int64
	after bool
	dead  atomic.Bool
	// power says that the machine dies with the process, and takes along what was written with driver.Relaxed: unsynced.
	power    bool
	unsynced []string
}

func (c *crashing) Unwrap() driver.Driver { return c.Driver }

// write runs a call that changes the storage, unless the process is dead.
func (c *crashing) write(call func() error) error {
	if c.dead.Load() {
		return errCrashed
	}
	if c.left.Add(-1) == 0 {
		c.dead.Store(true)
		if c.after {
			call() //nolint:errcheck // nobody hears of it
		}
		return errCrashed
	}
	return call()
}

func (c *crashing) Create(ctx context.Context, key string, data []byte, d driver.Durability) error {
	return c.write(func() error {
		err := c.Driver.Create(ctx, key, data, d)
		if err == nil && d == driver.Relaxed {
			c.unsynced = append(c.unsynced, key)
		}
		return err
	})
}

func (c *crashing) Replace(ctx context.Context, key string, data []byte, old driver.Version) error {
	return c.write(func() error { return c.Driver.Replace(ctx, key, data, old) })
}

func (c *crashing) Delete(ctx context.Context, key string) error {
	return c.write(func() error { return c.Driver.Delete(ctx, key) })
}

func (c *crashing) DeleteUnchanged(ctx context.Context, key string, old driver.Version) error {
	return c.write(func() error { return c.Driver.DeleteUnchanged(ctx, key, old) })
}

func (c *crashing) Discard(ctx context.Context, id string) error {
	return c.write(func() error { return c.Driver.Discard(ctx, id) })
}

func (c *crashing) Read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	if c.dead.Load() {
		return nil, "", errCrashed
	}
	return c.Driver.Read(ctx, key)
}

func (c *crashing) Stream(ctx context.Context, id string, state []byte) (driver.Stream, error) {
	if c.dead.Load() {
		return nil, errCrashed
	}
	s, err := c.Driver.Stream(ctx, id, state)
	return crashingStream{s, c}, err
}

type crashingStream struct {
	driver.Stream
	c *crashing
}

func (s crashingStream) Commit(ctx context.Context, key string) error {
	return s.c.write(func() error { return s.Stream.Commit(ctx, key) })
}

func (s crashingStream) Discard(ctx context.Context) error {
	return s.c.write(func() error { return s.Stream.Discard(ctx) })
}

// restart is the next process: after the loss of power it finds what was synced, and nothing else.
func (c *crashing) restart(t *testing.T) {
	t.Helper()
	for _, key := range c.unsynced {
		if !c.power {
			break
		}
		must(t, c.Driver.Delete(t.Context(), key))
	}
	c.unsynced = nil
	c.left.Store(1 << 40)
	c.dead.Store(false)
}

// checkStore looks whether everything that shows is whole: tags, manifests, blobs; and, where nothing was interrupted, the
// catalog.
func checkStore(t *testing.T, s *Store, mended bool) {
	t.Helper()
	ctx := t.Context()
	var holding []string
	must(t, s.each(ctx, repositoriesPrefix, func(entry string) error {
		r := s.Repository(unescape(strings.TrimSuffix(entry, "/")))
		exists, err := r.Exists(ctx)
		must(t, err)
		if exists {
			holding = append(holding, r.name)
		}
		must(t, s.each(ctx, linkPrefix(r.name), func(name string) error {
			d, err := parseDigestName(name)
			must(t, err)
			if got := readBlob(t, r, d); digest.FromString(got) != d {
				t.Errorf("%s: a blob is not what its digest says", r.name)
			}
			return nil
		}))
		return s.each(ctx, tagPrefix(r.name), func(tag string) error {
			m, err := r.Tagged(ctx, tag)
			if errors.Is(err, ErrNotFound) {
				return nil // in name only
			}
			must(t, err)
			if m.Digest.Algorithm().FromBytes(m.Content) != m.Digest {
				t.Errorf("%s:%s is not what its digest says", r.name, tag)
			}
			for _, d := range newNode(m).blobs {
				if _, err := r.StatBlob(ctx, d); err != nil {
					t.Errorf("%s:%s: %v", r.name, tag, err)
				}
			}
			return nil
		})
	}))
	names, err := s.Repositories(ctx, "", "", 100)
	must(t, err)
	if slices.Sort(holding); mended && !slices.Equal(names, holding) {
		t.Errorf("the catalog says %v, there are manifests in %v", names, holding)
	}
}

// operation is what a client does. Done again, it does what a client does that got no answer.
type operation func(ctx context.Context, s *Store) error

// uploading pushes a blob in some steps and an end. Done again it goes on with the same upload, as a client would: where
// that stands, and once more broken off in the middle.
func uploading(steps []string, end string) operation {
	var id string
	whole := strings.Join(steps, "") + end
	return func(ctx context.Context, s *Store) error {
		r := s.Repository("r")
		again := id != ""
		if !again {
			u, err := r.NewUpload(digest.SHA256)
			if err != nil {
				return err
			}
			id = u.ID()
		}
		u, err := r.Upload(ctx, id)
		if again && errors.Is(err, ErrNotFound) {
			// It is over: then the blob is there, or it is pushed once more.
			_, err := upload(ctx, r, whole)
			return err
		}
		if err != nil {
			return err
		}
		if again {
			broken := io.MultiReader(strings.NewReader(whole[u.Offset():][:1]), iotest.ErrReader(io.ErrUnexpectedEOF))
			if err := u.Commit(ctx, broken, digest.FromString(whole)); !errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("broken off: %v", err) //nolint:errorlint // not what may be gone
			}
			if u, err = r.Upload(ctx, id); err != nil {
				return err
			}
		}
		for at, rest := u.Offset(), steps; len(rest) > 0; rest = rest[1:] {
			if n := int64(len(rest[0])); at >= n {
				at -= n
				continue
			}
			if err := u.Append(ctx, strings.NewReader(rest[0])); err != nil {
				return err
			}
		}
		err = u.Commit(ctx, strings.NewReader(whole[u.Offset():]), digest.FromString(whole))
		if errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("the upload: %v", err) //nolint:errorlint // not what may be gone
		}
		return err
	}
}

// Each operation is stopped before and after every single write of it, by the end of its process or by a loss of power. Whatever was
// acknowledged before is there, nothing shows that is not whole, and the same operation can be done again.
func TestEveryCrashPoint(t *testing.T) {
	t.Run("in memory", func(t *testing.T) { everyCrashPoint(t, func() driver.Driver { return inmemory.New() }) })
	t.Run("file system", func(t *testing.T) {
		everyCrashPoint(t, func() driver.Driver {
			d, err := filesystem.New(testserver.MemoryDir(t))
			must(t, err)
			return d
		})
	})
}

func everyCrashPoint(t *testing.T, open func() driver.Driver) {
	layer, other := "a layer", "another layer"
	again := map[string]func() operation{
		"push a blob, and the same upload again":          func() operation { return uploading(nil, "one two three") },
		"push a blob in steps, and the same upload again": func() operation { return uploading([]string{"one ", "two "}, "three") },
	}
	operations := map[string]operation{
		"push a blob": func(ctx context.Context, s *Store) error {
			_, err := upload(ctx, s.Repository("r"), "new")
			return err
		},
		"push a blob in steps": func(ctx context.Context, s *Store) error {
			u, err := s.Repository("r").NewUpload(digest.SHA256)
			if err != nil {
				return err
			}
			for _, part := range []string{"one ", "two "} {
				if err := u.Append(ctx, strings.NewReader(part)); err != nil {
					return err
				}
			}
			return u.Commit(ctx, strings.NewReader("three"), digest.FromString("one two three"))
		},
		"cancel an upload": func(ctx context.Context, s *Store) error {
			u, err := s.Repository("r").NewUpload(digest.SHA256)
			if err != nil {
				return err
			}
			if err := u.Append(ctx, strings.NewReader("x")); err != nil {
				return err
			}
			return u.Cancel(ctx)
		},
		"mount a blob": func(ctx context.Context, s *Store) error {
			return s.Repository("elsewhere").MountBlob(ctx, s.Repository("r"), digest.FromString(layer))
		},
		"push a manifest": func(ctx context.Context, s *Store) error {
			return pushManifestOf(ctx, s.Repository("new"), "v1", "fresh layer", "")
		},
		"push a referrer": func(ctx context.Context, s *Store) error {
			return pushManifestOf(ctx, s.Repository("r"), "", "signature", digest.FromString(image(digest.FromString(layer))))
		},
		"move a tag": func(ctx context.Context, s *Store) error {
			return s.Repository("r").Tag(ctx, "moving", digest.FromString(image(digest.FromString(other))), "", true)
		},
		"delete a tag": func(ctx context.Context, s *Store) error { return s.Repository("r").DeleteTag(ctx, "moving") },
		"delete a manifest": func(ctx context.Context, s *Store) error {
			return s.Repository("r").DeleteManifest(ctx, digest.FromString(image(digest.FromString(layer))))
		},
		"delete the last manifest": func(ctx context.Context, s *Store) error {
			return s.Repository("single").DeleteManifest(ctx, digest.FromString(image(digest.FromString(layer))))
		},
		"delete a blob": func(ctx context.Context, s *Store) error {
			return s.Repository("r").DeleteBlob(ctx, digest.FromString("loose"))
		},
		"purge uploads": func(ctx context.Context, s *Store) error {
			_, err := s.PurgeUploads(ctx, -time.Hour, false)
			return err
		},
		"collect, three times": func(ctx context.Context, s *Store) error {
			for range 3 {
				if _, err := s.Collect(ctx, Collection{}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	for name, o := range operations {
		again[name] = func() operation { return o }
	}
	for name, operation := range again {
		for i := range 4 {
			after, power := i%2 == 1, i > 1
			t.Run(fmt.Sprintf("%s, after=%v, power=%v", name, after, power), func(t *testing.T) {
				for point := int64(1); ; point++ {
					c := &crashing{Driver: open(), after: after, power: power}
					if crashAt(t, c, operation(), point) {
						if point < 2 {
							t.Error("the operation writes nothing")
						}
						return
					}
					if t.Failed() {
						t.Fatalf("crash at write %d", point)
					}
				}
			})
		}
	}
}

func pushManifestOf(ctx context.Context, r *Repository, tag, layer string, subject digest.Digest) error {
	d, err := upload(ctx, r, layer)
	if err != nil {
		return err
	}
	text := image(d)
	m := digest.FromString(text)
	p := PutManifest{Digest: m, Content: []byte(text), Blobs: []digest.Digest{d}}
	if subject != "" {
		p.Subject, p.Referrer = subject, &ocispec.Descriptor{Digest: m}
	}
	if err := r.PutManifest(ctx, p); err != nil || tag == "" {
		return err
	}
	return r.Tag(ctx, tag, m, "", true)
}

// crashAt prepares a store, does the operation with a crash at its n-th write, and checks what is left. It says whether
// the operation ended before that.
func crashAt(t *testing.T, c *crashing, operation operation, point int64) (ended bool) {
	t.Helper()
	ctx := t.Context()
	c.left.Store(1 << 40)
	s, err := Open(ctx, c)
	must(t, err)
	r := s.Repository("r")
	must(t, pushManifestOf(ctx, r, "moving", "a layer", ""))
	must(t, pushManifestOf(ctx, r, "kept", "another layer", ""))
	must(t, pushManifestOf(ctx, s.Repository("single"), "v1", "a layer", ""))
	_, err = upload(ctx, r, "loose")
	must(t, err)
	u, err := r.NewUpload(digest.SHA256)
	must(t, err)
	must(t, u.Append(ctx, strings.NewReader("abandoned")))

	c.left.Store(point)
	err = operation(ctx, s)
	ended = !c.dead.Load()
	if ended != (err == nil) {
		t.Fatalf("ended %v: %v", ended, err)
	}
	c.restart(t)
	s, err = Open(ctx, c)
	must(t, err)
	checkStore(t, s, ended)
	// What nobody touched is there.
	for _, content := range []string{"another layer"} {
		if got := readBlob(t, s.Repository("r"), digest.FromString(content)); got != content {
			t.Errorf("%q became %q", content, got)
		}
	}
	if _, err := s.Repository("r").Tagged(ctx, "kept"); err != nil {
		t.Errorf("a tag that nobody touched: %v", err)
	}
	// The client tries again; what is gone by now may be gone.
	if err := operation(ctx, s); err != nil && !errors.Is(err, ErrNotFound) {
		t.Errorf("once more: %v", err)
	}
	checkStore(t, s, false)
	// And whatever the crash left is collected in the end.
	for range 5 {
		collect(t, s, Collection{})
	}
	_, err = s.PurgeUploads(ctx, -2*time.Hour, false)
	must(t, err)
	checkStore(t, s, true)
	if _, err := s.Repository("r").Tagged(ctx, "kept"); err != nil {
		t.Errorf("after collections: %v", err)
	}
	return ended
}
