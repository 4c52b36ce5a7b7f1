package summaries

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// counting counts calls, as a bucket would be called: its lists have versions.
type counting struct {
	driver.Driver
	lists, others atomic.Int64
}

func (c *counting) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	c.lists.Add(1)
	return c.Driver.List(ctx, prefix, after, limit)
}

func (c *counting) ListVersions(ctx context.Context, prefix, after string, limit int) ([]driver.Entry, error) {
	c.lists.Add(1)
	entries, _, err := driver.ListVersions(ctx, c.Driver, prefix, after, limit)
	return entries, err
}

func (c *counting) Read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	c.others.Add(1)
	return c.Driver.Read(ctx, key)
}

func (c *counting) Open(ctx context.Context, key string) (driver.Object, error) {
	c.others.Add(1)
	return c.Driver.Open(ctx, key)
}

func (c *counting) reset() { c.lists.Store(0); c.others.Store(0) }

type fixture struct {
	*testing.T
	d     *counting
	store *store.Store
	index *Index
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, d: &counting{Driver: inmemory.New()}}
	var err error
	if f.store, err = store.Open(t.Context(), f.d); err != nil {
		t.Fatal(err)
	}
	f.index = New(f.store, slog.New(slog.DiscardHandler))
	t.Cleanup(f.index.Close)
	return f
}

// push pushes one manifest with a pack.json, and tags it. What is in metadata comes after name and version.
func (f *fixture) push(name, metadata string, tags ...string) digest.Digest {
	f.Helper()
	r, ctx := f.store.Repository(pack.Repository(name)), f.Context()
	text := fmt.Appendf(nil, `{"name":%q,"version":%q,"layer":"addon"%s}`, name, tags[0], metadata)
	d, err := r.PutBlob(ctx, text)
	if err != nil {
		f.Fatal(err)
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[{"mediaType":"a/b","digest":%q,"size":77}]}`, d, d)
	m := digest.FromBytes(manifest)
	err = r.PutManifest(ctx, store.PutManifest{Digest: m, MediaType: "application/vnd.oci.image.manifest.v1+json", Content: manifest, By: "ann",
		Files: []store.File{{Name: "pack.json", Digest: d, Size: int64(len(text))}}})
	for _, tag := range tags {
		err = errors.Join(err, r.Tag(ctx, tag, m, "ann", true))
	}
	if err != nil {
		f.Fatal(err)
	}
	return m
}

func (f *fixture) rows(names ...string) ([]Row, []byte) {
	f.Helper()
	s, err := f.index.State(f.Context(), names)
	if err != nil {
		f.Fatal(err)
	}
	rows, err := s.Rows(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return rows, s.Sum()
}

func (f *fixture) search(q Query, mayPull func(string) bool) Result {
	f.Helper()
	if q.Limit == 0 {
		q.Limit = 50
	}
	if mayPull == nil {
		mayPull = func(string) bool { return true }
	}
	result, err := f.index.Search(f.Context(), q, mayPull)
	if err != nil {
		f.Fatal(err)
	}
	return result
}

func (f *fixture) refresh() {
	f.Helper()
	if err := f.index.Refresh(f.Context()); err != nil {
		f.Fatal(err)
	}
}

func names(rows []Row) (names []string) {
	for _, r := range rows {
		names = append(names, r.Name)
	}
	return names
}

func TestRowsAreOfTheNewestVersion(t *testing.T) {
	f := newFixture(t)
	f.push("dns", `,"displayName":"Old"`, "1.9.0")
	d := f.push("dns", `,"displayName":"Name server","addonType":"system app","cloudTypes":["aws","edge"],"annotations":{"source":"community","description":"Resolves names"}`,
		"1.10.0", "stable", "sha256-"+digest.FromString("").Encoded()+".sig")
	rows, _ := f.rows("dns", "gone")
	if len(rows) != 1 {
		t.Fatalf("rows %+v", rows)
	}
	r := rows[0]
	if r.Pushed.IsZero() {
		t.Error("no time")
	}
	r.Pushed = r.Pushed.Truncate(1 << 62)
	if got, want := fmt.Sprintf("%+v", Row{r.Name, r.Tag, r.Digest, r.Pushed, r.By, r.Versions, r.Metadata}), fmt.Sprintf("%+v", Row{"dns", "1.10.0", d, r.Pushed, "ann", 2,
		Metadata{77, "Name server", "Resolves names", "addon", "system app", "", "community", "", []string{"aws", "edge"}, false}}); got != want {
		t.Errorf("row\n%s, want\n%s", got, want)
	}
}

// Every change of a tag shows at once, in the rows and in the sum, also one that is undone, or made by another process.
func TestEveryChangeOfATagShows(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	a := f.push("dns", `,"displayName":"A"`, "1.0.0")
	b := f.push("dns", `,"displayName":"B"`, "1.1.0")
	r := f.store.Repository(pack.Repository("dns"))
	_, last := f.rows("dns")
	seen := map[string]bool{string(last): true}
	for i, change := range []struct {
		what string
		do   func() error
		want string // tag, number of versions, display name
	}{
		{"moved", func() error { return r.Tag(ctx, "1.1.0", a, "bob", true) }, "1.1.0 2 A"},
		{"moved back", func() error { return r.Tag(ctx, "1.1.0", b, "bob", true) }, "1.1.0 2 B"},
		{"an alias", func() error { return r.Tag(ctx, "stable", a, "bob", true) }, "1.1.0 2 B"},
		{"the alias moved", func() error { return r.Tag(ctx, "stable", b, "bob", true) }, "1.1.0 2 B"},
		{"untagged", func() error { return r.DeleteTag(ctx, "1.1.0") }, "1.0.0 1 A"},
		{"a manifest deleted", func() error { return r.DeleteManifest(ctx, a) }, "stable 0 B"},
		{"all deleted", func() error { return r.DeleteManifest(ctx, b) }, ""},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		rows, sum := f.rows("dns")
		got := ""
		if len(rows) > 0 {
			got = fmt.Sprint(rows[0].Tag, " ", rows[0].Versions, " ", rows[0].DisplayName)
		}
		if got != change.want {
			t.Errorf("%s: %q, want %q", change.what, got, change.want)
		}
		if seen[string(sum)] {
			t.Errorf("%d, %s: the sum is one that was seen before", i, change.what)
		}
		seen[string(sum)] = true
		if _, again := f.rows("dns"); !bytes.Equal(again, sum) {
			t.Errorf("%s: the sum changes without a change", change.what)
		}
	}
}

// A tag whose manifest went while its process died is not shown, though what is listed has not changed since.
func TestDeadTagsDoNotShow(t *testing.T) {
	f := newFixture(t)
	f.push("dns", `,"displayName":"A"`, "1.0.0")
	b := f.push("dns", `,"displayName":"B"`, "1.1.0")
	repository := "r/spectro!packs.archive.dns/"
	name := "sha256-" + b.Encoded()
	if err := f.d.Create(t.Context(), repository+"d/!"+name+"!nonce", nil, driver.Durable); err != nil {
		t.Fatal(err)
	}
	if rows, _ := f.rows("dns"); len(rows) != 1 || rows[0].Tag != "1.1.0" {
		t.Fatalf("while it is there: %+v", rows)
	}
	_, before := f.rows("dns")
	if err := f.d.Delete(t.Context(), repository+"m/"+name); err != nil {
		t.Fatal(err)
	}
	rows, after := f.rows("dns")
	if len(rows) != 1 || rows[0].Tag != "1.0.0" || bytes.Equal(before, after) {
		t.Errorf("rows %+v, same sum: %v", rows, bytes.Equal(before, after))
	}
}

func TestSearch(t *testing.T) {
	f := newFixture(t)
	f.push("calico", `,"displayName":"Calico","addonType":"cni"`, "3.1.0")
	f.push("dns", `,"displayName":"Name server","cloudTypes":["all"],"annotations":{"source":"community","description":"Resolves NAMES"}`, "1.0.0")
	f.push("edge-dns", `,"displayName":"Edge","cloudTypes":["edge"],"annotations":{"system_state":"deprecated"}`, "1.0.0")
	f.push("secret", `,"displayName":"dns too","annotations":{"source":"hidden"}`, "1.0.0")
	if first := f.search(Query{}, nil); first.Indexed > first.Total {
		t.Errorf("before anything is known: %+v", first)
	}
	f.refresh()
	mayPull := func(name string) bool { return name != "secret" }
	for _, c := range []struct {
		q    Query
		want []string
	}{
		{Query{}, []string{"calico", "dns", "edge-dns"}},
		{Query{Text: "DNS"}, []string{"dns", "edge-dns"}},
		{Query{Text: "names resolves"}, []string{"dns"}},
		{Query{Text: "addon cal"}, []string{"calico"}},
		{Query{Type: "cni"}, []string{"calico"}},
		{Query{Cloud: "edge"}, []string{"dns", "edge-dns"}},
		{Query{Source: "community"}, []string{"dns"}},
		{Query{State: "current"}, []string{"calico", "dns"}},
		{Query{State: "deprecated"}, []string{"edge-dns"}},
		{Query{Layer: "csi"}, nil},
		{Query{ByDate: true}, []string{"edge-dns", "dns", "calico"}},
	} {
		got := f.search(c.q, mayPull)
		if !slices.Equal(names(got.Rows), c.want) || got.Found != len(c.want) || got.Total != 3 || got.Indexed != 3 || got.More != "" {
			t.Errorf("%+v: %v, %+v; want %v", c.q, names(got.Rows), got, c.want)
		}
		if slices.Contains(got.Sources, "hidden") {
			t.Errorf("%+v shows a source of what may not be pulled", c.q)
		}
		var paged []string
		for q := c.q; ; {
			q.Limit = 1
			page := f.search(q, mayPull)
			paged = append(paged, names(page.Rows)...)
			if q.After = page.More; q.After == "" || len(paged) > 3 {
				break
			}
		}
		if !slices.Equal(paged, c.want) {
			t.Errorf("%+v by one: %v, want %v", c.q, paged, c.want)
		}
	}
	if _, err := f.index.Search(t.Context(), Query{ByDate: true, After: "x", Limit: 1}, mayPull); !errors.Is(err, ErrCursor) {
		t.Errorf("a position that is none: %v", err)
	}
	// What went, or changed, does not show as it was.
	r := f.store.Repository(pack.Repository("dns"))
	if err := r.DeleteTag(t.Context(), "1.0.0"); err != nil {
		t.Fatal(err)
	}
	f.push("calico", `,"displayName":"Other","addonType":"other"`, "3.1.0")
	if got := f.search(Query{}, mayPull); !slices.Equal(names(got.Rows), []string{"calico", "edge-dns"}) || got.Rows[0].DisplayName != "Other" {
		t.Errorf("after a change: %+v", got.Rows)
	}
	// And what this process pushed is found at once.
	f.push("new", `,"displayName":"New dns"`, "1.0.0")
	f.index.Touch("new")
	if got := f.search(Query{Text: "dns"}, mayPull); !slices.Equal(names(got.Rows), []string{"edge-dns", "new"}) {
		t.Errorf("after a push: %v", names(got.Rows))
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("x", 1<<20)
	for n := range 100 {
		f.index.remember(fmt.Sprint(n), &entry{words: long})
		f.index.remember(fmt.Sprint(n), &entry{words: long}) // in place of the first
	}
	if n := len(f.index.known); f.index.bytes > maxBytes || n < 50 || n > 64 {
		t.Errorf("%d packs of 1 MiB take %d bytes", n, f.index.bytes)
	}
	f.index.forgetOthers(nil)
	if len(f.index.known) != 0 || f.index.bytes != 0 {
		t.Errorf("%d packs, %d bytes are left of none", len(f.index.known), f.index.bytes)
	}
	// What has no room is shown all the same, and costs its reads each time.
	f.index.bytes = maxBytes
	f.push("dns", `,"displayName":"A"`, "1.0.0")
	for range 2 {
		if rows, _ := f.rows("dns"); len(rows) != 1 || rows[0].DisplayName != "A" {
			t.Errorf("without room: %+v", rows)
		}
	}
}

// The cost in calls of a bucket with 10,000 packs of 10 versions. docs/adr/0006-index.md reasons with these figures.
func TestCallsOfTenThousandPacks(t *testing.T) {
	if testing.Short() {
		t.Skip("it pushes 10,000 packs")
	}
	f := newFixture(t)
	var all []string
	for i := range 10_000 {
		name := fmt.Sprintf("pack-%05d", i)
		all = append(all, name)
		var tags []string
		for v := range 10 {
			tags = append(tags, fmt.Sprintf("1.%d.0", v))
		}
		f.push(name, fmt.Sprintf(`,"displayName":"Number %d"`, i), tags...)
	}
	want := func(what string, lists, others int64, do func()) {
		t.Helper()
		f.d.reset()
		do()
		if l, o := f.d.lists.Load(), f.d.others.Load(); l > lists || o > others {
			t.Errorf("%s: %d lists and %d other calls, want %d and %d at most", what, l, o, lists, others)
		} else {
			t.Logf("%s: %d lists, %d other calls", what, l, o)
		}
	}
	page := all[:1000]
	want("a page of 1,000 that are not known", 2000, 5000, func() { f.rows(page...) })
	want("the same page, changed nothing", 2000, 0, func() { f.rows(page...) })
	f.push("pack-00007", `,"displayName":"Other"`, "2.0.0")
	want("the same page, one pack changed", 2000, 5, func() { f.rows(page...) })
	want("getting to know all", 11+2*10_000, 5*9000, f.refresh)
	f.index.mu.Lock()
	f.index.running = true // no refresh beside these, however slow the machine is
	f.index.mu.Unlock()
	for _, q := range []Query{{}, {Text: "number 77"}, {Text: "pack", ByDate: true}, {Text: "nothing"}, {Layer: "addon", After: "pack-05000"}} {
		want(fmt.Sprintf("search %+v", q), 50, 0, func() {
			if r := f.search(q, nil); (len(r.Rows) == 0) != strings.Contains(q.Text, "nothing") || r.Indexed != 10_000 {
				t.Errorf("search %+v: %d rows, %d indexed", q, len(r.Rows), r.Indexed)
			}
		})
	}
}

// What is disabled is found by who asks for it, and is not among what is enabled.
func TestSearchByWhetherPacksAreDisabled(t *testing.T) {
	f := newFixture(t)
	f.push("old", `,"displayName":"Old","annotations":{"system_state":"Disabled"}`, "1.0.0")
	f.push("new", `,"displayName":"New"`, "1.0.0")
	f.refresh()
	everything := func(string) bool { return true }
	for state, want := range map[string][]string{"enabled": {"new"}, "disabled": {"old"}, "": {"new", "old"}} {
		if got := f.search(Query{State: state}, everything); !slices.Equal(names(got.Rows), want) {
			t.Errorf("%q: %v, want %v", state, names(got.Rows), want)
		}
	}
}
