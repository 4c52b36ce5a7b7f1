package summaries

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Query says which packs are looked for. Empty fields ask for nothing.
type Query struct {
	// Text is words, each of which is in the name, the display name, the description or the layer.
	Text                       string
	Layer, Type, Cloud, Source string
	// State is "deprecated" or "disabled", or "current" for packs that are neither, "enabled" for all but disabled ones; empty for all.
	State string
	// ByDate sorts by when the newest version came, the newest first, else by name.
	ByDate bool
	// After is Result.More of the page before.
	After string
	Limit int
}

// Result is a page of packs that fit a query.
type Result struct {
	Rows []Row
	// More continues the list; it is empty at its end.
	More string
	// Found is how many packs fit, of those that are known by now. Total is how many packs there are, and Indexed how many of these
	// are known.
	Found, Total, Indexed int
	// Layers, Types and Sources are those that there are to filter by.
	Layers, Types, Sources []string
}

// ErrCursor says that Query.After is no position in a list.
var ErrCursor = errors.New("the list has no such position; begin anew without it")

// cursor is where a page begins: after the row of that name, and in lists by date, that time.
type cursor struct {
	time time.Time
	name string
}

func (q Query) cursor() (c cursor, err error) {
	if q.After == "" || !q.ByDate {
		return cursor{name: q.After}, nil
	}
	at, name, ok := strings.Cut(q.After, "/")
	nanoseconds, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil {
		return c, fmt.Errorf("%.100q: %w", q.After, ErrCursor)
	}
	return cursor{time.Unix(0, nanoseconds), name}, nil
}

func (q Query) position(r Row) string {
	if q.ByDate {
		return strconv.FormatInt(r.Pushed.UnixNano(), 10) + "/" + r.Name
	}
	return r.Name
}

// order compares rows as the list has them.
func (q Query) order(a, b Row) int {
	if q.ByDate {
		return cmp.Or(b.Pushed.Compare(a.Pushed), strings.Compare(a.Name, b.Name))
	}
	return strings.Compare(a.Name, b.Name)
}

// fits says whether a pack is looked for. words are the query's text, in lower case.
func (q Query) fits(e *entry, words []string) bool {
	is := func(wanted, found string) bool { return wanted == "" || wanted == found }
	state := q.State == "" || q.State == "enabled" && e.row.State != "disabled" || q.State == e.row.State || q.State == "current" && e.row.State != "deprecated" && e.row.State != "disabled"
	return state && is(q.Layer, e.row.Layer) && is(q.Type, e.row.Type) && is(q.Source, e.row.Source) &&
		(q.Cloud == "" || slices.ContainsFunc(e.row.CloudTypes, func(c string) bool { return c == q.Cloud || c == "all" })) &&
		!slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e.words, word) })
}

// maxRounds bounds how often rows are looked at for one page, where packs went or changed since they came to be known.
const maxRounds = 3

// Search lists packs that fit, of those that may be pulled. Each row is as the store has it now, and takes one list of tags where
// nothing has changed.
func (i *Index) Search(ctx context.Context, q Query, mayPull func(name string) bool) (Result, error) {
	after, err := q.cursor()
	if err != nil {
		return Result{}, err
	}
	if err := i.catchUp(ctx); err != nil {
		return Result{}, err
	}
	result, candidates := i.candidates(q, after, mayPull)
	words := strings.Fields(strings.ToLower(q.Text))
	for range maxRounds {
		room := q.Limit - len(result.Rows)
		if room <= 0 || len(candidates) == 0 {
			break
		}
		batch := candidates[:min(room, len(candidates))]
		candidates = candidates[len(batch):]
		found, err := i.rows(ctx, batch)
		if err != nil {
			return Result{}, err
		}
		for _, e := range found {
			if e != nil && q.fits(e, words) {
				result.Rows = append(result.Rows, e.row)
			}
		}
		// The position is of what was known: packs are gone by now, or elsewhere in a list by date.
		result.More = q.position(batch[len(batch)-1].row)
	}
	if len(candidates) == 0 {
		result.More = ""
	}
	return result, nil
}

// rows looks at packs as they are now. One that cannot be read is left out, like one that is gone; where none can be read that is an error.
func (i *Index) rows(ctx context.Context, known []*entry) ([]*entry, error) {
	found := make([]*entry, len(known))
	var failed failures
	err := i.each(ctx, rowNames(known), func(ctx context.Context, at int, name string) (err error) {
		if found[at], err = i.current(ctx, name); err != nil && failed.add(err) == len(known) {
			return failed.first
		}
		return ctx.Err()
	})
	if err == nil && failed.n > 0 {
		i.log.Warn("packs cannot be read, and are left out of a search", "packs", failed.n, "error", failed.first)
	}
	return found, err
}

func rowNames(entries []*entry) []string {
	names := make([]string, len(entries))
	for at, e := range entries {
		names[at] = e.row.Name
	}
	return names
}

// candidates returns packs that fit by what is known, from a position on.
func (i *Index) candidates(q Query, after cursor, mayPull func(name string) bool) (result Result, found []*entry) {
	words := strings.Fields(strings.ToLower(q.Text))
	layers, types, sources := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var fitting []*entry
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, name := range i.names {
		if !mayPull(name) {
			continue
		}
		result.Total++
		e := i.known[name]
		if e == nil {
			continue
		}
		result.Indexed++
		layers[e.row.Layer], types[e.row.Type], sources[e.row.Source] = true, true, true
		if q.fits(e, words) {
			fitting = append(fitting, e)
		}
	}
	result.Found = len(fitting)
	slices.SortFunc(fitting, func(a, b *entry) int { return q.order(a.row, b.row) })
	for _, e := range fitting {
		if q.After == "" || q.order(e.row, Row{Name: after.name, Pushed: after.time}) > 0 {
			found = append(found, e)
		}
	}
	result.Layers, result.Types, result.Sources = values(layers), values(types), values(sources)
	return result, found
}

func values(set map[string]bool) []string {
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}

// current returns a pack as it is now; nil where it has no tag. Where its tags are as they are remembered that is one list.
func (i *Index) current(ctx context.Context, name string) (*entry, error) {
	entries, now, err := i.tags(ctx, name, true)
	if err != nil {
		return nil, err
	}
	if known := i.lookUp(name); known != nil && known.tags == now && len(entries) > 0 {
		return known, nil
	}
	return i.load(ctx, name)
}

// load is current that looks at everything.
func (i *Index) load(ctx context.Context, name string) (*entry, error) {
	entries, now, err := i.tags(ctx, name, false)
	if err != nil {
		return nil, err
	}
	if known := i.lookUp(name); known != nil && known.tags == now && len(entries) > 0 {
		return known, nil
	}
	return i.build(ctx, name, entries, now)
}
