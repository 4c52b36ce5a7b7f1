package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// pausing is a driver whose callers are stopped at any of its calls, for a moment that others use.
type pausing struct {
	driver.Driver
	dice func() bool
}

func (p pausing) Unwrap() driver.Driver { return p.Driver }

func (p pausing) pause() {
	for p.dice() {
		runtime.Gosched()
	}
}

func (p pausing) Read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	p.pause()
	defer p.pause()
	return p.Driver.Read(ctx, key)
}

func (p pausing) Create(ctx context.Context, key string, data []byte, d driver.Durability) error {
	p.pause()
	defer p.pause()
	return p.Driver.Create(ctx, key, data, d)
}

func (p pausing) Replace(ctx context.Context, key string, data []byte, old driver.Version) error {
	p.pause()
	defer p.pause()
	return p.Driver.Replace(ctx, key, data, old)
}

func (p pausing) Delete(ctx context.Context, key string) error {
	p.pause()
	defer p.pause()
	return p.Driver.Delete(ctx, key)
}

func (p pausing) DeleteUnchanged(ctx context.Context, key string, old driver.Version) error {
	p.pause()
	defer p.pause()
	return p.Driver.DeleteUnchanged(ctx, key, old)
}

// tombstones is a driver that cannot delete on a condition.
type tombstones struct{ driver.Driver }

func (t tombstones) Unwrap() driver.Driver { return t.Driver }

func (tombstones) DeleteUnchanged(context.Context, string, driver.Version) error {
	return errors.ErrUnsupported
}

// Pushers, mounters and deleters at work over a few blobs that they share, with collectors that wait for nothing: what
// was acknowledged and is tagged can be read, all of it, at any time.
func TestHistories(t *testing.T) {
	for name, tt := range map[string]struct {
		rounds int64
		open   func(t *testing.T) driver.Driver
	}{
		"inmemory":   {150, func(*testing.T) driver.Driver { return inmemory.New() }},
		"tombstones": {150, func(*testing.T) driver.Driver { return tombstones{inmemory.New()} }},
		"filesystem": {25, drivers["filesystem"]},
		"s3":         {8, drivers["s3"]},
	} {
		t.Run(name, func(t *testing.T) { testHistory(t, tt.open(t), tt.rounds) })
	}
}

func testHistory(t *testing.T, d driver.Driver, rounds int64) {
	var dice atomic.Uint64
	d = pausing{d, func() bool { return (dice.Add(0x9E3779B97F4A7C15)>>33)%4 == 0 }}
	// Each actor has a store of its own, as if it were another process.
	store := func() *Store {
		s, err := Open(t.Context(), d)
		must(t, err)
		return s
	}
	const pushers, contents, repositories = 6, 5, 2
	ctx, stop := context.WithCancel(t.Context())
	var collectors, actors sync.WaitGroup
	var collections, pushes, refused atomic.Int64
	for range 2 {
		s := store()
		collectors.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Collect(t.Context(), Collection{}); err != nil {
					t.Errorf("collect: %v", err)
					return
				}
				collections.Add(1)
			}
		})
	}
	for p := range pushers {
		s := store()
		random := rand.New(rand.NewPCG(uint64(p), 1)) //nolint:gosec // a test that can be repeated
		actors.Go(func() {
			tag := fmt.Sprintf("tag-%d", p)
			// At least so many pushes, and collections enough among them.
			for i := int64(0); i < rounds || collections.Load() < rounds && i < 20*rounds; i++ {
				pushes.Add(1)
				r := s.Repository(fmt.Sprintf("r%d", random.IntN(repositories)))
				if err := pushRandom(t, s, r, random, tag, contents, repositories); errors.Is(err, ErrNotFound) || errors.Is(err, ErrTryAgain) {
					refused.Add(1) // answered so: nothing was promised
					continue
				} else if err != nil {
					t.Errorf("push: %v", err)
					return
				}
				readTagged(t, r, tag)
				if random.IntN(3) == 0 {
					if err := r.DeleteTag(t.Context(), tag); err != nil && !errors.Is(err, ErrNotFound) {
						t.Errorf("delete: %v", err)
					}
				}
			}
		})
	}
	actors.Wait()
	stop()
	collectors.Wait()
	s := store()
	for i := range repositories {
		r := s.Repository(fmt.Sprintf("r%d", i))
		for p := range pushers {
			if _, err := r.Tagged(t.Context(), fmt.Sprintf("tag-%d", p)); err == nil {
				readTagged(t, r, fmt.Sprintf("tag-%d", p))
				must(t, r.DeleteTag(t.Context(), fmt.Sprintf("tag-%d", p)))
			}
		}
	}
	t.Logf("%d collections, %d of %d pushes were to come again", collections.Load(), refused.Load(), pushes.Load())
	if refused.Load() > pushes.Load()*9/10 {
		t.Error("hardly any push went through")
	}
	for range 6 {
		collect(t, s, Collection{})
	}
	for _, key := range everything(t, s) {
		if strings.HasPrefix(key, dataPrefix) {
			t.Errorf("left: %s", key)
		}
	}
}

// pushRandom pushes an image of some of the shared blobs, each uploaded, mounted, or found to be there; sometimes as the
// child of an index.
func pushRandom(t *testing.T, s *Store, r *Repository, random *rand.Rand, tag string, contents, repositories int) error {
	ctx := t.Context()
	var layers []digest.Digest
	for range 1 + random.IntN(3) {
		content := fmt.Sprintf("content %d", random.IntN(contents))
		d := digest.FromString(content)
		layers = append(layers, d)
		if random.IntN(2) == 0 {
			from := s.Repository(fmt.Sprintf("r%d", random.IntN(repositories)))
			if r.MountBlob(ctx, from, d) == nil {
				continue
			}
		}
		if has, err := r.HasBlob(ctx, d); has && err == nil {
			continue
		}
		if _, err := upload(ctx, r, content); err != nil {
			return err
		}
	}
	text := strings.Replace(image(layers...), "layers", "blobs", 1)
	m := digest.FromString(text)
	if err := r.PutManifest(ctx, PutManifest{Digest: m, MediaType: mediaTypeOCIArtifact, Content: []byte(text), Blobs: layers}); err != nil {
		return err
	}
	if random.IntN(2) == 0 {
		text = fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`, mediaTypeOCIArtifact, m)
		child := m
		m = digest.FromString(text)
		if err := r.PutManifest(ctx, PutManifest{Digest: m, MediaType: ocispec.MediaTypeImageIndex, Content: []byte(text), Manifests: []digest.Digest{child}}); err != nil {
			return err
		}
	}
	return r.Tag(ctx, tag, m, "", true)
}

// readTagged reads everything that a tag stands for. Nobody else writes that tag.
func readTagged(t *testing.T, r *Repository, tag string) {
	ctx := t.Context()
	m, err := r.Tagged(ctx, tag)
	if err != nil {
		t.Errorf("an acknowledged tag is lost: %v", err)
		return
	}
	if digest.FromBytes(m.Content) != m.Digest {
		t.Errorf("%s: the manifest's content is lost: %q", tag, m.Content)
	}
	n := newNode(m)
	for _, child := range n.manifests {
		c, err := r.Manifest(ctx, child)
		if err != nil || digest.FromBytes(c.Content) != child {
			t.Errorf("%s: what an index names is lost: %v", tag, err)
			return
		}
		n = newNode(c)
	}
	for _, blob := range n.blobs {
		o, err := r.Blob(ctx, blob)
		if err != nil {
			t.Errorf("%s: a layer is lost: %v", tag, err)
			return
		}
		content, err := io.ReadAll(o)
		o.Close() //nolint:errcheck // read only
		if err != nil || digest.FromBytes(content) != blob {
			t.Errorf("%s: a layer is %q, %v", tag, content, err)
		}
	}
}
