// Package summaries is what lists show of packs: of each its newest version, with what that version's pack.json says.
//
// What is remembered is a pack's row together with the state of its tags that the row was made of: their names, and the versions
// of their records. A row is shown only after the store has listed those tags again, so that it cannot be out of date; where they
// have not changed, that list is all it costs. What a manifest's pack.json says is not read again while the newest version has the
// same digest. So what is remembered decides how much a list costs, and which packs a search finds, but never what is shown of them.
//
//	summaries.go  one row: the state of a pack's tags, and what it takes to make the row anew
//	search.go     rows by words and filters, of the packs that are known by now
//	index.go      rows as the index has them, and their ETag
//	refresh.go    getting to know all packs, beside the requests
package summaries

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
)

// Bounds of what is remembered.
const (
	maxPacks = 100_000
	maxBytes = 64 << 20
	// loadsAtOnce is how many packs are looked at at once, by all requests together.
	loadsAtOnce = 32
)

// Row is a pack in a list, by its newest version.
type Row struct {
	Name string
	// Tag is the newest version's, or another tag of a pack that has no version.
	Tag    string
	Digest digest.Digest
	// Pushed and By say when that tag was set, and by whom.
	Pushed time.Time
	By     string
	// Versions is how many the pack has.
	Versions int
	Metadata
}

// Metadata is what is known of a version by its digest alone.
type Metadata struct {
	// Size is the archive's, in bytes.
	Size                     int64
	DisplayName, Description string
	Layer, Type, Group       string
	Source, State            string
	CloudTypes               []string
	// Logo says whether the version has a logo.png.
	Logo bool
}

// Index knows packs. Make it with New.
type Index struct {
	store *store.Store
	log   *slog.Logger
	loads chan struct{}
	stop  context.CancelFunc
	until context.Context //nolint:containedctx // of the refreshes that searches begin, which outlive their requests

	mu    sync.RWMutex
	known map[string]*entry
	bytes int
	refreshState
}

// entry is what is remembered of a pack. It is never changed, but replaced.
type entry struct {
	tags sum
	row  Row
	// words is what a search looks for words in, in lower case.
	words string
}

func (e *entry) size() int {
	n := 512 + len(e.words) + len(e.row.Name) + len(e.row.DisplayName) + len(e.row.Description)
	for _, c := range e.row.CloudTypes {
		n += 16 + len(c)
	}
	return n
}

type sum [sha256.Size]byte

// New makes an index of a store that knows no pack yet.
func New(s *store.Store, log *slog.Logger) *Index {
	i := &Index{store: s, log: log, loads: make(chan struct{}, loadsAtOnce), known: map[string]*entry{}}
	i.until, i.stop = context.WithCancel(context.Background())
	return i
}

// Close ends what goes on beside the requests.
func (i *Index) Close() { i.stop() }

// State is the state of packs' tags.
type State struct {
	index *Index
	names []string
	tags  [][]driver.Entry
	sums  []sum
}

// State looks at the tags of packs, by lists alone where no tag's deletion is under way.
func (i *Index) State(ctx context.Context, names []string) (*State, error) {
	s := &State{i, names, make([][]driver.Entry, len(names)), make([]sum, len(names))}
	return s, i.each(ctx, names, func(ctx context.Context, at int, name string) (err error) {
		s.tags[at], s.sums[at], err = i.tags(ctx, name, false)
		return err
	})
}

// Sum differs where the names do, or any tag of these packs.
func (s *State) Sum() []byte {
	h := sha256.New()
	for at, name := range s.names {
		h.Write(binary.AppendUvarint(nil, uint64(len(name))))
		h.Write([]byte(name))
		h.Write(s.sums[at][:])
	}
	return h.Sum(nil)
}

// Rows returns the rows of those packs that have a tag.
func (s *State) Rows(ctx context.Context) ([]Row, error) {
	found := make([]*entry, len(s.names))
	err := s.index.each(ctx, s.names, func(ctx context.Context, at int, name string) (err error) {
		if found[at] = s.index.lookUp(name); found[at] == nil || found[at].tags != s.sums[at] {
			found[at], err = s.index.build(ctx, name, s.tags[at], s.sums[at])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, len(found))
	for _, e := range found {
		if e != nil {
			rows = append(rows, e.row)
		}
	}
	return rows, nil
}

// each calls f for each name, several at once, but of all requests together no more than there is room for.
func (i *Index) each(ctx context.Context, names []string, f func(ctx context.Context, at int, name string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loadsAtOnce)
	for at, name := range names {
		group.Go(func() error {
			select {
			case i.loads <- struct{}{}:
				defer func() { <-i.loads }()
			case <-ctx.Done():
				return ctx.Err()
			}
			return f(ctx, at, name)
		})
	}
	return group.Wait()
}

// tags returns a pack's tags that show, and their sum. See store.Repository.TagStates for recorded.
func (i *Index) tags(ctx context.Context, name string, recorded bool) ([]driver.Entry, sum, error) {
	entries, err := i.store.Repository(pack.Repository(name)).TagStates(ctx, recorded)
	if err != nil {
		return nil, sum{}, err
	}
	entries = slices.DeleteFunc(entries, func(e driver.Entry) bool { return pack.IsSignatureTag(e.Name) || pack.IsParentTag(e.Name) })
	h := sha256.New()
	var line []byte
	for _, e := range entries {
		for _, part := range []string{e.Name, string(e.Version)} {
			line = append(binary.AppendUvarint(line[:0], uint64(len(part))), part...)
			h.Write(line)
		}
	}
	return entries, sum(h.Sum(nil)), nil
}

func (i *Index) lookUp(name string) *entry {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.known[name]
}

// remember keeps what is known of a pack by now; nil where there is no such pack.
func (i *Index) remember(name string, e *entry) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if old := i.known[name]; old != nil {
		i.bytes -= old.size()
		delete(i.known, name)
	}
	if e != nil && len(i.known) < maxPacks && i.bytes+e.size() <= maxBytes {
		i.known[name] = e
		i.bytes += e.size()
	}
}

// build makes a pack's row, and remembers it; nil where the pack has no tag that names anything.
func (i *Index) build(ctx context.Context, name string, tags []driver.Entry, of sum) (*entry, error) {
	row := Row{Name: name}
	names := make([]string, len(tags))
	for at, t := range tags {
		names[at] = t.Name
		if pack.IsVersionTag(t.Name) {
			row.Versions++
		}
	}
	var metadata *Metadata
	for len(names) > 0 && metadata == nil {
		newest := pack.Newest(names, "")
		if newest == "" { // aliases alone
			newest = slices.Min(names)
		}
		var err error
		row.Tag = newest
		if metadata, err = i.version(ctx, &row); errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) {
			names = slices.DeleteFunc(names, func(tag string) bool { return tag == newest })
		} else if err != nil {
			return nil, err
		}
	}
	if metadata == nil {
		i.remember(name, nil)
		return nil, nil
	}
	row.Metadata = *metadata
	e := &entry{tags: of, row: row, words: strings.ToLower(strings.Join([]string{name, row.DisplayName, row.Description, row.Layer}, "\n"))}
	i.remember(name, e)
	return e, nil
}

// version reads the version of a row's tag.
func (i *Index) version(ctx context.Context, row *Row) (*Metadata, error) {
	r := i.store.Repository(pack.Repository(row.Name))
	t, err := r.ReadTag(ctx, row.Tag)
	if err != nil {
		return nil, err
	}
	row.Digest, row.Pushed, row.By = t.Digest, t.Time, t.By
	if known := i.lookUp(row.Name); known != nil && known.row.Digest == t.Digest && known.row.DisplayName != "" {
		return &known.row.Metadata, nil
	}
	return readMetadata(ctx, r, t.Digest)
}
