package store

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// A subject is tagged again while what refers to it is being removed: both stay.
func TestReferrersOfWhatIsTaggedAgainStay(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx, r := t.Context(), others.Repository("r")
		subject := pushImage(t, r, "", "subject")
		layer, err := upload(ctx, r, "signature")
		must(t, err)
		p := referrerOf(subject, layer)
		must(t, r.PutManifest(ctx, p))
		collect(t, s, Collection{})
		again := func() error { return r.Tag(ctx, "again", subject, "", true) }
		// Whichever of the two goes first.
		h.before["remove /m/"+digestName(subject)], h.before["remove /m/"+digestName(p.Digest)] = again, again
		collect(t, s, Collection{})
		if len(h.before) == 2 {
			t.Fatal("nothing was to be removed")
		}
		for range 3 {
			collect(t, others, Collection{})
		}
		if list, _, err := r.Referrers(ctx, subject, "", 10); len(list) != 1 || err != nil {
			t.Errorf("referrers of what is tagged: %v, %v", list, err)
		}
		if got := readBlob(t, r, layer); got != "signature" {
			t.Errorf("%q", got)
		}
	})
}

// A referrer is pushed again between the two writes of its deletion, and the process that deletes dies there.
func TestReferrerPushedAgainIsListed(t *testing.T) {
	for _, at := range []string{"before read", "after remove"} {
		t.Run(at, func(t *testing.T) {
			forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
				ctx, r := t.Context(), others.Repository("r")
				subject := pushImage(t, r, "v1", "subject")
				layer, err := upload(ctx, r, "signature")
				must(t, err)
				p := referrerOf(subject, layer)
				must(t, r.PutManifest(ctx, p))
				entry := "/s/" + digestName(subject) + "/" + digestName(p.Digest)
				h.before["read "+entry] = func() error { return r.PutManifest(ctx, p) }
				h.after["remove "+entry] = func() error { return errCrashed }
				wantErr(t, s.Repository("r").DeleteManifest(ctx, p.Digest), errCrashed)
				collect(t, others, Collection{})
				list, _, err := r.Referrers(ctx, subject, "", 10)
				must(t, err)
				if len(list) != 1 || list[0].Digest != p.Digest || list[0].MediaType != p.MediaType || list[0].Size != int64(len(p.Content)) {
					t.Errorf("referrers: %+v", list)
				}
			})
		})
	}
}

// The grace period is counted from when it was seen that nothing refers to a thing, however long the collector was under
// way, or stopped before it wrote that down.
func TestGraceOfASlowCollector(t *testing.T) {
	for _, at := range []string{"before list", "before replace"} {
		t.Run(at, func(t *testing.T) {
			ctx := t.Context()
			ahead := &atomic.Int64{}
			d := newJumping(ahead)
			h := &hooked{Driver: d, before: map[string]func() error{}, after: map[string]func() error{}}
			slow, err := Open(ctx, h)
			must(t, err)
			slow.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			s, err := Open(ctx, d)
			must(t, err)
			r := s.Repository("r")
			pushImage(t, r, "v1", "tagged")
			blob := digest.FromString("a blob")
			if at == "before replace" {
				_, err := upload(ctx, r, "a blob")
				must(t, err)
			}
			key := map[string]string{"before list": "r/r/l/", "before replace": linkKey("r", blob)}[at]
			h.before[strings.TrimPrefix(at, "before ")+" "+key] = func() error {
				ahead.Add(int64(2 * time.Hour))
				_, err := upload(ctx, r, "a blob")
				return err
			}
			day := Collection{Grace: time.Hour, KeepUntagged: time.Hour}
			collect(t, slow, day)
			if len(h.before) > 0 {
				t.Fatal("the collector was not stopped")
			}
			ahead.Add(int64(time.Minute))
			collect(t, s, day)
			if _, err := s.d.Stat(ctx, linkKey("r", blob)); err != nil {
				t.Errorf("a blob went a minute after it was pushed, with an hour of grace: %v", err)
			}
			ahead.Add(int64(2 * time.Hour))
			collect(t, s, day)
			if _, err := s.d.Stat(ctx, linkKey("r", blob)); !errors.Is(err, driver.ErrNotExist) {
				t.Errorf("after its grace it is there still: %v", err)
			}
		})
	}
}

// full is a volume without a byte left, until something on it is removed.
type full struct {
	driver.Driver
	on   bool
	free int
}

func (f *full) Unwrap() driver.Driver { return f.Driver }

func (f *full) write(data []byte, do func() error) error {
	if f.on && len(data) > 0 {
		if f.free == 0 {
			return fmt.Errorf("write: %w", syscall.ENOSPC)
		}
		f.free--
	}
	return do()
}

func (f *full) Create(ctx context.Context, key string, data []byte, d driver.Durability) error {
	return f.write(data, func() error { return f.Driver.Create(ctx, key, data, d) })
}

func (f *full) Replace(ctx context.Context, key string, data []byte, old driver.Version) error {
	err := f.write(data, func() error { return f.Driver.Replace(ctx, key, data, old) })
	if err == nil && old != "" && f.on {
		f.free++ // of what it replaced, which is there until then
	}
	return err
}

func (f *full) remove(ctx context.Context, key string, do func() error) error {
	info, err := f.Stat(ctx, key)
	if err == nil && info.Size > 0 && f.on {
		f.free++
	}
	return do()
}

func (f *full) Delete(ctx context.Context, key string) error {
	return f.remove(ctx, key, func() error { return f.Driver.Delete(ctx, key) })
}

func (f *full) DeleteUnchanged(ctx context.Context, key string, old driver.Version) error {
	return f.remove(ctx, key, func() error { return f.Driver.DeleteUnchanged(ctx, key, old) })
}

// A volume without a byte left is collected: what was marked before goes, and makes space for the rest.
func TestCollectingAFullVolume(t *testing.T) {
	f := &full{Driver: inmemory.New()}
	s, err := Open(t.Context(), f)
	must(t, err)
	r := s.Repository("r")
	pushImage(t, r, "v1", "tagged")
	pushImage(t, r, "", "untagged")
	_, err = upload(t.Context(), r, "marked")
	must(t, err)
	collect(t, s, Collection{})
	_, err = upload(t.Context(), r, "not marked yet")
	must(t, err)
	u, err := r.NewUpload(digest.SHA256)
	must(t, err)
	must(t, u.Append(t.Context(), strings.NewReader("begun")))
	f.on = true
	if _, err := s.PurgeUploads(t.Context(), 24*time.Hour, false); err != nil {
		t.Errorf("purge: %v", err)
	}
	for range 6 {
		if _, err := s.Collect(t.Context(), Collection{}); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	if _, err := s.Collect(t.Context(), Collection{}); err != nil {
		t.Errorf("with space again: %v", err)
	}
	var left []string
	for _, key := range everything(t, s) {
		if strings.HasPrefix(key, dataPrefix) {
			left = append(left, key)
		}
	}
	if want := []string{dataKey(digest.FromString("tagged"), 0)}; !slices.Equal(left, want) {
		t.Errorf("left: %v", left)
	}
	checkTags(t, s, "r", "v1")
}

// What crashes left in the lists of a repository is removed, and what they took is put back.
func TestListsAreMended(t *testing.T) {
	ahead := &atomic.Int64{}
	s, err := Open(t.Context(), newJumping(ahead))
	must(t, err)
	ctx, r := t.Context(), s.Repository("r")
	m := pushImage(t, r, "tag", "layer")
	gone := digest.FromString("gone")
	for _, key := range []string{
		taggedKey("r", gone, "tag"), taggedKey("r", gone, "other"), taggedKey("r", m, "moved"),
		referrerKey("r", m, gone), referrerKey("r", gone, gone),
		manifestDeletionKey("r", gone, nonce()), tagDeletionKey("r", "gone", nonce()), tagDeletionKey("r", "tag", nonce()),
	} {
		must(t, s.d.Create(ctx, key, []byte("{}"), driver.Durable))
	}
	must(t, s.d.Delete(ctx, taggedKey("r", m, "tag")))
	collect(t, s, Collection{})
	checkTags(t, s, "r", "tag")
	ahead.Add(int64(2 * unusedIndex)) // by then no writer is stopped before its tag any more
	collect(t, s, Collection{})
	checkTags(t, s, "r", "tag")
	var lists []string
	for _, key := range everything(t, s) {
		if part := strings.Split(key, "/"); part[0] == "r" && slices.Contains([]string{"d", "g", "s"}, part[2]) {
			lists = append(lists, key)
		}
	}
	if want := []string{taggedKey("r", m, "tag")}; !slices.Equal(lists, want) {
		t.Errorf("left:\n%s\nwant\n%s", strings.Join(lists, "\n"), strings.Join(want, "\n"))
	}
	must(t, r.DeleteManifest(ctx, m))
	checkTags(t, s, "r")
}

// Of random graphs of manifests every index is decided before what it names, every subject before its referrers where that
// can be had, and each manifest once.
func TestSweepsInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
	for range 300 {
		g := newGraph(maphash.MakeSeed())
		size := 1 + random.IntN(30)
		name := func(i int) digest.Digest { return digest.FromString(fmt.Sprint(i)) }
		names, subjects := map[int][]int{}, map[int]int{}
		rings := random.IntN(2) == 0
		for i := range size {
			m := &Manifest{Digest: name(i)}
			var refs []uint64
			for range random.IntN(3) {
				if child := random.IntN(size); child < i {
					names[i] = append(names[i], child)
					refs = append(refs, g.hash(string(name(child))))
				}
			}
			// Referrers of later ones make no ring: what is named has the smaller number.
			if subject := random.IntN(size); subject > i && random.IntN(2) == 0 || rings && subject < i {
				subjects[i] = subject
				m.header.Subject = string(name(subject))
			}
			g.add(m, refs)
		}
		place := map[digest.Digest]int{}
		must(t, g.sweep(func(n *node, _ bool) (bool, error) {
			if _, twice := place[n.digest]; twice {
				t.Errorf("decided twice")
			}
			place[n.digest] = len(place)
			return true, nil
		}))
		if len(place) != size {
			t.Fatalf("%d of %d were decided", len(place), size)
		}
		for i, children := range names {
			for _, child := range children {
				if place[name(i)] > place[name(child)] {
					t.Errorf("%d, which is named by %d, comes before it", child, i)
				}
			}
		}
		for _, i := range slices.Sorted(maps.Keys(subjects)) {
			if place[name(i)] < place[name(subjects[i])] && !inRing(names, subjects, i) {
				t.Errorf("%d comes before its subject %d", i, subjects[i])
			}
		}
	}
}

// inRing says whether a referrer must, by way of others, come before its own subject.
func inRing(names map[int][]int, subjects map[int]int, referrer int) bool {
	seen, todo := map[int]bool{}, []int{referrer}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if i == subjects[referrer] {
			return true
		}
		if seen[i] {
			continue
		}
		seen[i] = true
		todo = append(todo, names[i]...)
		for other, subject := range subjects {
			if subject == i && other != i {
				todo = append(todo, other)
			}
		}
	}
	return false
}

// A manifest of which one that it names, in the end, is the subject goes like others.
func TestRingsOfSubjectsGo(t *testing.T) {
	forEachPromise(t, func(t *testing.T, _ *hooked, s, _ *Store) {
		ctx, r := t.Context(), s.Repository("r")
		index := func(subject digest.Digest, children ...digest.Digest) digest.Digest {
			var list []string
			for _, d := range children {
				list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1}`, mediaTypeDockerManifest, d))
			}
			text := fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, strings.Join(list, ","))
			d := digest.FromString(text)
			p := PutManifest{Digest: d, MediaType: mediaTypeDockerList, Content: []byte(text), Manifests: children, Subject: subject}
			if subject != "" {
				p.Referrer = shortReferrer(p.MediaType, d, int64(len(text)))
			}
			must(t, r.PutManifest(ctx, p))
			return d
		}
		image := pushImage(t, r, "", "layer")
		index(image, index("", image))
		for range 6 {
			collect(t, s, Collection{})
		}
		if exists, err := r.Exists(ctx); exists || err != nil {
			t.Errorf("the ring stays: %v, %v", exists, err)
		}
	})
}
