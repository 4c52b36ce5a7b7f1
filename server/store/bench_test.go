package store

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
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
		record := mustJSON(tagRecord{Digest: d, Generation: m.header.Generation, Nonce: nonce()})
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

// collected is a collection of a repository of so many manifests, each of size bytes with ten layers of its own, that has read
// all that it needs to decide.
func collected(tb testing.TB, manifests, size int) *repositoryCollection {
	tb.Helper()
	d := inmemory.New()
	s, err := Open(tb.Context(), d)
	if err != nil {
		tb.Fatal(err)
	}
	create := func(key string, data []byte) {
		if err := d.Create(tb.Context(), key, data, driver.Relaxed); err != nil {
			tb.Fatal(err)
		}
	}
	filler := strings.Repeat("x", size)
	for i := range manifests {
		var layers []digest.Digest
		for j := range 10 {
			layer := digest.FromString(fmt.Sprintf("%d/%d", i, j))
			layers = append(layers, layer)
			create(linkKey("r", layer), mustJSON(link{Key: dataKey(layer, 0), Size: 1, Nonce: nonce()}))
		}
		text := []byte(strings.Replace(image(layers...), "{", fmt.Sprintf(`{"filler":%q,`, filler), 1))
		m := digest.FromBytes(text)
		create(manifestKey("r", m), header{Generation: "1", MediaType: "m"}.record(text))
		create(tagKey("r", fmt.Sprintf("v%06d", i)), mustJSON(tagRecord{Digest: m, Generation: "1", Nonce: nonce()}))
	}
	c := &collector{s: s, seed: maphash.MakeSeed(), named: map[uint64]struct{}{}}
	rc := &repositoryCollection{collector: c, r: s.Repository("r"), graph: newGraph(c.seed), links: map[uint64]observedLink{}, tags: map[string]int32{}}
	before := heap()
	for _, step := range []func(context.Context) error{rc.readLinks, rc.readManifests, rc.readTags} {
		if err := step(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	held := float64(heap()-before) / float64(manifests)
	if b, ok := tb.(*testing.B); ok {
		b.ReportMetric(held, "held-B/manifest")
	} else if held > 2<<10 {
		tb.Errorf("a collection holds %.0f bytes for each manifest of %d bytes", held, size)
	}
	return rc
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// What a collection remembers of a manifest, of its ten layers and its tag does not grow with what the manifest says.
func TestCollectionHoldsNoContent(t *testing.T) {
	if rc := collected(t, 2000, 3*maxRecordSize); len(rc.graph.nodes) != 2000 || len(rc.links) != 20_000 || len(rc.tags) != 2000 {
		t.Errorf("%d manifests, %d links, %d tags", len(rc.graph.nodes), len(rc.links), len(rc.tags))
	}
}

// And of a mark it remembers what it takes to decide.
func TestCollectionHoldsLittleOfMarks(t *testing.T) {
	const marks = 20_000
	d := inmemory.New()
	s, err := Open(t.Context(), d)
	must(t, err)
	now := time.Now()
	for i := range marks {
		m := mark{Nonce: nonce(), Marked: &now}
		must(t, d.Create(t.Context(), markKey(dataKey(digest.FromString(fmt.Sprint(i)), 0)), mustJSON(m), driver.Relaxed))
	}
	c := &collector{s: s, seed: maphash.MakeSeed()}
	before := heap()
	held, err := c.marks(t.Context())
	must(t, err)
	if each := (float64(heap()) - float64(before)) / marks; len(held) != marks || each > 128 {
		t.Errorf("%d marks are held, with %.0f bytes each", len(held), each)
	}
	runtime.KeepAlive(held)
}

// BenchmarkCollectionMemory is what a collection holds of a repository of 10,000 manifests, of ten layers each, with a tag.
func BenchmarkCollectionMemory(b *testing.B) {
	for b.Loop() {
		runtime.KeepAlive(collected(b, 10_000, 0))
	}
}
