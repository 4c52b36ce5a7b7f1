package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/store/driver/s3"
)

// drivers are what every test of the store runs against.
var drivers = map[string]func(t *testing.T) driver.Driver{
	"inmemory": func(*testing.T) driver.Driver { return inmemory.New() },
	"filesystem": func(t *testing.T) driver.Driver {
		d, err := filesystem.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return d
	},
	"s3": func(t *testing.T) driver.Driver {
		server := testserver.StartS3(t)
		d, err := s3.New(t.Context(), s3.Options{Bucket: server.Bucket(t), Region: server.Region, Endpoint: server.Endpoint,
			PathStyle: true, AccessKey: server.AccessKey, SecretKey: server.SecretKey})
		if err != nil {
			t.Fatal(err)
		}
		return d
	},
}

func forEach(t *testing.T, test func(t *testing.T, s *Store)) {
	for name, newDriver := range drivers {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), newDriver(t))
			if err != nil {
				t.Fatal(err)
			}
			test(t, s)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func pushManifest(t *testing.T, r *Repository, text, tag string) digest.Digest {
	t.Helper()
	d := digest.FromString(text)
	must(t, r.PutManifest(t.Context(), PutManifest{Digest: d, MediaType: "m", Content: []byte(text), By: "ann"}))
	if tag != "" {
		must(t, r.Tag(t.Context(), tag, d, "ann", true))
	}
	return d
}

func readBlob(t *testing.T, r *Repository, d digest.Digest) string {
	t.Helper()
	text, err := r.ReadBlob(t.Context(), d, 1<<20)
	must(t, err)
	return string(text)
}

func TestFormat(t *testing.T) {
	d := inmemory.New()
	_, err := Open(t.Context(), d)
	must(t, err)
	_, err = Open(t.Context(), d)
	must(t, err)
	foreign := inmemory.New()
	must(t, foreign.Create(t.Context(), formatKey, []byte("packregistry/9\n"), driver.Durable))
	if _, err := Open(t.Context(), foreign); err == nil || !strings.Contains(err.Error(), "packregistry/9") {
		t.Errorf("a newer format: %v", err)
	}
}

func TestManifestsAndTags(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("r")
		_, err := r.Tags(ctx, "", 10)
		wantErr(t, err, ErrNotFound)
		one := pushManifest(t, r, `{"n":1}`, "v1")
		two := pushManifest(t, r, `{"n":2}`, "v2")
		m, err := r.Tagged(ctx, "v1")
		must(t, err)
		if string(m.Content) != `{"n":1}` || m.MediaType != "m" || m.By != "ann" || m.Pushed.IsZero() {
			t.Errorf("got %+v", m)
		}
		wantErr(t, r.Tag(ctx, "v1", two, "bob", false), ErrTagExists)
		must(t, r.Tag(ctx, "v1", one, "bob", false)) // the same digest is no change
		must(t, r.Tag(ctx, "v1", two, "bob", true))
		tags, err := r.Tags(ctx, "", 10)
		must(t, err)
		if !slices.Equal(tags, []string{"v1", "v2"}) {
			t.Errorf("tags %v", tags)
		}
		// The first stays by digest; deleting the second takes both tags along.
		_, err = r.Manifest(ctx, one)
		must(t, err)
		must(t, r.DeleteManifest(ctx, two))
		for _, tag := range []string{"v1", "v2"} {
			_, err = r.Tagged(ctx, tag)
			wantErr(t, err, ErrNotFound)
		}
		tags, err = r.Tags(ctx, "", 10)
		must(t, err)
		if len(tags) > 0 {
			t.Errorf("tags of what is gone: %v", tags)
		}
		wantErr(t, r.DeleteTag(ctx, "v1"), ErrNotFound)
		must(t, r.Tag(ctx, "v3", one, "", true))
		must(t, r.DeleteTag(ctx, "v3"))
		_, err = r.Manifest(ctx, one)
		must(t, err)
	})
}

// A tag that a crash left behind must not come back to life with the next push of the same bytes.
func TestTagsOfAnEarlierGenerationStayDead(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("r")
		d := pushManifest(t, r, `{}`, "old")
		must(t, s.d.Delete(ctx, manifestKey("r", d))) // and no further: the process died here
		pushManifest(t, r, `{}`, "new")
		_, err := r.Tagged(ctx, "old")
		wantErr(t, err, ErrNotFound)
		_, err = r.Tagged(ctx, "new")
		must(t, err)
		must(t, r.Tag(ctx, "old", d, "", false)) // a dead tag is free
	})
}

func TestCatalog(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		names := []string{"a", "a-b", "a.b", "a/b", "a0", "a_b", "spectro-packs/archive/x", "spectro-packs/archive/x/y", "spectro-packs/archive0"}
		for _, name := range names {
			pushManifest(t, s.Repository(name), `{}`, "t")
		}
		slices.Sort(names)
		for size := 1; size < 11; size++ {
			var got []string
			for last := ""; ; last = got[len(got)-1] {
				page, err := s.Repositories(ctx, "", last, size)
				must(t, err)
				if got = append(got, page...); len(page) < size {
					break
				}
			}
			if !slices.Equal(got, names) {
				t.Errorf("by %d: %v, want %v", size, got, names)
			}
		}
		got, err := s.Repositories(ctx, "spectro-packs/archive/", "", 10)
		must(t, err)
		if !slices.Equal(got, []string{"spectro-packs/archive/x", "spectro-packs/archive/x/y"}) {
			t.Errorf("below a prefix: %v", got)
		}
		must(t, s.Repository("a").DeleteManifest(ctx, digest.FromString(`{}`)))
		if got, _ = s.Repositories(ctx, "", "", 1); !slices.Equal(got, []string{"a-b"}) {
			t.Errorf("after the last manifest went: %v", got)
		}
	})
}

func TestConcurrentTagging(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		const writers, each = 4, 25
		var group sync.WaitGroup
		for w := range writers {
			r := s.Repository("r")
			group.Go(func() {
				for i := range each {
					text := fmt.Sprintf(`{"w":%d,"i":%d}`, w, i)
					d := digest.FromString(text)
					err := errors.Join(r.PutManifest(context.Background(), PutManifest{Digest: d, MediaType: "m", Content: []byte(text)}),
						r.Tag(context.Background(), fmt.Sprintf("t%d-%d", w, i), d, "", true),
						r.Tag(context.Background(), "latest", d, "", true))
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		tags, err := s.Repository("r").Tags(t.Context(), "", 1000)
		must(t, err)
		if len(tags) != writers*each+1 {
			t.Errorf("%d tags of %d", len(tags), writers*each+1)
		}
		_, err = s.Repository("r").Tagged(t.Context(), "latest")
		must(t, err)
	})
}

func TestReferrers(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("r")
		subject := digest.FromString("subject")
		for i := range 5 {
			text := fmt.Sprintf(`{"i":%d}`, i)
			d := digest.FromString(text)
			must(t, r.PutManifest(ctx, PutManifest{Digest: d, MediaType: "m", Content: []byte(text), Subject: subject,
				Referrer: &ocispec.Descriptor{Digest: d, Size: 1, MediaType: "m"}}))
		}
		var found []digest.Digest
		for after := digest.Digest(""); ; {
			page, next, err := r.Referrers(ctx, subject, after, 2)
			must(t, err)
			for _, d := range page {
				found = append(found, d.Digest)
			}
			if next == "" {
				break
			}
			after = next
		}
		if len(found) != 5 {
			t.Fatalf("found %v", found)
		}
		must(t, r.DeleteManifest(ctx, found[0]))
		page, _, err := r.Referrers(ctx, subject, "", 10)
		must(t, err)
		if len(page) != 4 {
			t.Errorf("after a deletion: %d", len(page))
		}
	})
}

func TestEscapedNamesKeepTheirOrder(t *testing.T) {
	names := []string{"a", "a-b", "a--b", "a.b", "a/b", "a/b-c", "a/b/c", "a0", "a_b", "a__b", "ab"}
	slices.Sort(names)
	for i, name := range names {
		if unescape(escape(name)) != name {
			t.Errorf("%s comes back as %s", name, unescape(escape(name)))
		}
		if i > 0 && escape(names[i-1]) >= escape(name) {
			t.Errorf("%s before %s is lost", names[i-1], name)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a/b-c.d")
	f.Fuzz(func(t *testing.T, name string) {
		if ValidName(name) && unescape(escape(name)) != name {
			t.Errorf("%q comes back as %q", name, unescape(escape(name)))
		}
		testfuzz.Proportionate(t, len(name), func() {
			unescape(escape(name))
			parseDigestName(name) //nolint:errcheck // whatever it says
			parseDeletion(name)
		})
	})
}

func BenchmarkAddTag(b *testing.B) {
	for _, existing := range []int{0, 10_000} {
		b.Run(fmt.Sprint(existing), func(b *testing.B) {
			d, err := filesystem.New(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			s, err := Open(b.Context(), d)
			if err != nil {
				b.Fatal(err)
			}
			r := s.Repository("r")
			m := digest.FromString("{}")
			if err := r.PutManifest(b.Context(), PutManifest{Digest: m, Content: []byte("{}")}); err != nil {
				b.Fatal(err)
			}
			for i := range existing {
				if err := s.d.Create(b.Context(), tagKey("r", fmt.Sprintf("old%d", i)), []byte("{}"), driver.Relaxed); err != nil {
					b.Fatal(err)
				}
			}
			for i := 0; b.Loop(); i++ {
				if err := r.Tag(b.Context(), fmt.Sprintf("new%d", i), m, "", true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPushBlob(b *testing.B) {
	content := bytes.Repeat([]byte("x"), 1<<20)
	d, err := filesystem.New(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), d)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	for i := 0; b.Loop(); i++ {
		copy(content, fmt.Sprint(i, " "))
		u, err := s.Repository("r").NewUpload(digest.SHA256)
		if err == nil {
			err = u.Commit(b.Context(), bytes.NewReader(content), digest.FromBytes(content))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
