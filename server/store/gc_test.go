package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// everything lists all keys of a store, but for those that are there for ever.
func everything(t *testing.T, s *Store) []string {
	t.Helper()
	var all []string
	var walk func(prefix string)
	walk = func(prefix string) {
		must(t, s.each(t.Context(), prefix, func(name string) error {
			switch full := prefix + name; {
			case strings.HasSuffix(name, "/"):
				walk(full)
			case full != formatKey && full != collectionKey && full != privateKey("clock") && full != privateKey("purge") && full != "probe":
				all = append(all, full)
			}
			return nil
		}))
	}
	walk("")
	return all
}

func collect(t *testing.T, s *Store, o Collection) Collected {
	t.Helper()
	done, err := s.Collect(t.Context(), o)
	must(t, err)
	return done
}

// image is a manifest as clients push it.
func image(layers ...digest.Digest) string {
	var list []string
	for _, d := range layers {
		list = append(list, fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":1}`, d))
	}
	return fmt.Sprintf(`{"schemaVersion":2,"layers":[%s]}`, strings.Join(list, ","))
}

func upload(ctx context.Context, r *Repository, content string) (digest.Digest, error) {
	d := digest.FromString(content)
	return d, r.PutStream(ctx, strings.NewReader(content), d)
}

// pushImage pushes layers and a manifest, and tags it.
func pushImage(t *testing.T, r *Repository, tag string, contents ...string) digest.Digest {
	t.Helper()
	var layers []digest.Digest
	for _, content := range contents {
		d, err := upload(t.Context(), r, content)
		must(t, err)
		layers = append(layers, d)
	}
	text := image(layers...)
	m := digest.FromString(text)
	must(t, r.PutManifest(t.Context(), PutManifest{Digest: m, Content: []byte(text), Blobs: layers}))
	if tag != "" {
		must(t, r.Tag(t.Context(), tag, m, "", true))
	}
	return m
}

func TestCollect(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r, other := s.Repository("r"), s.Repository("other")
		kept := pushImage(t, r, "kept", "shared", "mine")
		dropped := pushImage(t, r, "dropped", "shared", "only here")
		must(t, other.MountBlob(ctx, r, digest.FromString("shared")))
		pushImage(t, other, "kept", "shared")
		_, err := upload(ctx, r, "nobody's")
		must(t, err)
		large := strings.Repeat("streamed ", 1000)
		u, err := r.NewUpload(digest.SHA256)
		must(t, err)
		must(t, u.Append(ctx, strings.NewReader(large[:100])))
		must(t, u.Commit(ctx, strings.NewReader(large[100:]), digest.FromString(large)))
		must(t, r.DeleteTag(ctx, "dropped"))

		hour := Collection{Grace: time.Hour, KeepUntagged: time.Hour}
		if done := collect(t, s, Collection{DryRun: true}); done.Marked != 3 || done.Blobs != 0 || done.Repositories != 2 {
			t.Errorf("dry run: %+v", done)
		}
		before := everything(t, s)
		if done := collect(t, s, hour); done.Marked != 3 || done.Links+done.Blobs+done.Manifests != 0 { // two blobs and a manifest
			t.Errorf("first: %+v", done)
		}
		if done := collect(t, s, hour); done.Marked+done.Links+done.Blobs+done.Manifests != 0 {
			t.Errorf("within the grace period: %+v", done)
		}
		if now := everything(t, s); !slices.Equal(now, before) {
			t.Errorf("marking made %v of %v", now, before)
		}
		// Whoever asks for a marked blob is answered that it exists, and can rely on it.
		if ok, err := r.HasBlob(ctx, digest.FromString("nobody's")); !ok || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
		none := Collection{}
		if done := collect(t, s, none); done.Manifests != 1 || done.Links != 1 { // what was streamed; "only here" follows its manifest
			t.Errorf("second: %+v", done)
		}
		if ok, err := r.HasBlob(ctx, digest.FromString("nobody's")); !ok || err != nil {
			t.Errorf("what was asked for was taken: %v, %v", ok, err)
		}
		var total Collected
		for range 4 {
			if ok, err := r.HasBlob(ctx, digest.FromString("nobody's")); !ok || err != nil {
				t.Fatalf("what is asked for again and again was taken: %v, %v", ok, err)
			}
			done := collect(t, s, none)
			total.Blobs += done.Blobs
			total.Bytes += done.Bytes
		}
		if total.Blobs != 2 || total.Bytes != int64(len("only here")+len(large)) {
			t.Errorf("removed %+v", total)
		}
		_, err = r.Manifest(ctx, dropped)
		wantErr(t, err, ErrNotFound)
		_, err = r.Manifest(ctx, kept)
		must(t, err)
		for _, content := range []string{"shared", "mine", "nobody's"} {
			if got := readBlob(t, r, digest.FromString(content)); got != content {
				t.Errorf("%q became %q", content, got)
			}
		}
		// What was collected can be pushed again at once.
		pushImage(t, r, "again", "only here")
		if got := readBlob(t, r, digest.FromString("only here")); got != "only here" {
			t.Errorf("pushed again: %q", got)
		}
		for range 3 {
			collect(t, s, none)
		}
		if got := readBlob(t, r, digest.FromString("only here")); got != "only here" {
			t.Errorf("after more collections: %q", got)
		}
	})
}

// All garbage goes in the end, and an empty store is an empty store.
func TestEverythingGoes(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("r")
		subject := pushImage(t, r, "v1", "one", "two")
		text := image()
		d := digest.FromString(text)
		must(t, r.PutManifest(ctx, PutManifest{Digest: d, Content: []byte(text), Subject: subject, Referrer: &ocispec.Descriptor{Digest: d}}))
		for range 3 {
			collect(t, s, Collection{})
		}
		if list, _, err := r.Referrers(ctx, subject, "", 10); err != nil || len(list) != 1 {
			t.Fatalf("a referrer of what is tagged: %v, %v", list, err)
		}
		must(t, r.DeleteTag(ctx, "v1"))
		for range 6 {
			collect(t, s, Collection{})
		}
		s.now = func() time.Time { return time.Now().Add(time.Hour) }
		_, err := s.PurgeUploads(ctx, -time.Hour, false)
		must(t, err)
		left := slices.DeleteFunc(everything(t, s), func(key string) bool {
			if strings.HasPrefix(key, marksPrefix) {
				return true
			}
			// Where nothing can be deleted on a condition there are tombstones, and a tag's has its deletion beside it.
			text, _, err := s.d.Read(ctx, key)
			tag, _, isDeletion := parseDeletion(strings.TrimPrefix(key, deletionPrefix("r")))
			_, _, tombstone := s.d.Read(ctx, tagKey("r", tag))
			return err == nil && strings.Contains(string(text), `"purged":true`) || isDeletion && tag != "" && tombstone == nil
		})
		if len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		names, err := s.Repositories(ctx, "", "", 10)
		must(t, err)
		if len(names) != 0 {
			t.Errorf("catalog: %v", names)
		}
	})
}

// One record that cannot be read stops neither the collection of other repositories nor costs any bytes.
func TestDamageDoesNotSpread(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		bad, good := s.Repository("bad"), s.Repository("good")
		broken := pushImage(t, bad, "v1", "precious")
		_, err := upload(ctx, good, "garbage")
		must(t, err)
		damage(t, s, manifestKey("bad", broken), "no header")
		var total Collected
		for range 4 {
			done, err := s.Collect(ctx, Collection{})
			wantErr(t, err, ErrDamaged)
			total.Links += done.Links
			total.Blobs += done.Blobs
		}
		if total.Links != 1 || total.Blobs != 0 {
			t.Errorf("removed %+v", total)
		}
		if got := readBlob(t, bad, digest.FromString("precious")); got != "precious" {
			t.Errorf("%q", got)
		}
		if _, err := s.Verify(ctx, Verification{Quarantine: true}); err != nil {
			t.Fatal(err)
		}
		_, err = s.Collect(ctx, Collection{})
		must(t, err)
	})
}

func TestOneOfSeveralCollects(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if due, err := s.CollectionDue(ctx, time.Hour); due || err != nil {
			t.Errorf("a new store: %v, %v", due, err)
		}
		if due, err := s.CollectionDue(ctx, time.Hour); due || err != nil {
			t.Errorf("within the interval: %v, %v", due, err)
		}
		var group sync.WaitGroup
		var chosen atomic.Int64
		version := func() string {
			data, _, err := s.d.Read(ctx, collectionKey)
			must(t, err)
			return string(data)
		}
		before := version()
		for range 8 {
			group.Go(func() {
				due, err := s.CollectionDue(ctx, 0)
				if err != nil {
					t.Error(err)
				}
				if due {
					chosen.Add(1)
				}
			})
		}
		group.Wait()
		if chosen.Load() == 0 || version() == before {
			t.Errorf("%d of 8 were to collect", chosen.Load())
		}
		if due, err := s.CollectionDue(ctx, time.Hour); due || err != nil {
			t.Errorf("after it began: %v, %v", due, err)
		}
	})
}

func TestIndexesKeepWhatTheyName(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("r")
		child := pushImage(t, r, "", "layer")
		text := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":%q,"size":1}]}`, child)
		index := digest.FromString(text)
		must(t, r.PutManifest(ctx, PutManifest{Digest: index, Content: []byte(text), Manifests: []digest.Digest{child}}))
		must(t, r.Tag(ctx, "v1", index, "", true))
		for range 4 {
			collect(t, s, Collection{})
		}
		_, err := r.Manifest(ctx, child)
		must(t, err)
		if got := readBlob(t, r, digest.FromString("layer")); got != "layer" {
			t.Errorf("%q", got)
		}
	})
}
