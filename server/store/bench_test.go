package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver/filesystem"
)

// fill makes a repository with so many tags, without the syncing that pushes pay for.
func fill(b *testing.B, s *Store, name string, tags int) {
	b.Helper()
	r := s.Repository(name)
	text := []byte("{}")
	d := digest.FromBytes(text)
	if err := r.PutManifest(b.Context(), PutManifest{Digest: d, Content: text}); err != nil {
		b.Fatal(err)
	}
	m, err := r.Manifest(b.Context(), d)
	if err != nil {
		b.Fatal(err)
	}
	for i := range tags {
		tag := fmt.Sprintf("v%06d", i)
		record := mustJSON(tagRecord{Digest: d, Incarnation: m.header.Incarnation, Nonce: nonce()})
		if err := s.d.Create(b.Context(), tagKey(name, tag), record, false); err != nil {
			b.Fatal(err)
		}
	}
}

func newFilesystemStore(b *testing.B) *Store {
	b.Helper()
	d, err := filesystem.New(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), d)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkTagPage reads a page of 100 tags of a repository of 100,000, at its beginning and at its end.
func BenchmarkTagPage(b *testing.B) {
	s := newFilesystemStore(b)
	const tags = 100_000
	fill(b, s, "r", tags)
	for name, after := range map[string]string{"first": "", "last": fmt.Sprintf("v%06d", tags-101)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				list, err := s.Repository("r").Tags(b.Context(), after, 100)
				if err != nil || len(list) != 100 {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

// BenchmarkTagging compares adding a tag to a repository of 100,000 with adding one to an empty repository, in pairs that
// alternate: full/empty is the ratio.
func BenchmarkTagging(b *testing.B) {
	s := newFilesystemStore(b)
	fill(b, s, "full", 100_000)
	fill(b, s, "empty", 0)
	d := digest.FromString("{}")
	var took [2]time.Duration
	n := 0
	for b.Loop() {
		n++
		for i, name := range []string{"empty", "full"} {
			began := time.Now()
			if err := s.Repository(name).Tag(b.Context(), fmt.Sprintf("w%d", n), d, "", true); err != nil {
				b.Fatal(err)
			}
			took[i] += time.Since(began)
		}
	}
	b.ReportMetric(float64(took[1])/float64(took[0]), "full/empty")
}
