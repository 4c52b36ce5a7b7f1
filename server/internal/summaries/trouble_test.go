package summaries

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// unreadable cannot list the tags of one pack.
type unreadable struct {
	driver.Driver
	pack string
}

var errUnreadable = errors.New("input/output error")

func (u *unreadable) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if u.pack != "" && strings.HasSuffix(prefix, u.pack+"/t/") {
		return nil, errUnreadable
	}
	return u.Driver.List(ctx, prefix, after, limit)
}

func newUnreadable(t *testing.T) (*unreadable, *fixture) {
	t.Helper()
	d := &unreadable{Driver: inmemory.New()}
	s, err := store.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, store: s, index: New(s, slog.New(slog.DiscardHandler))}
	t.Cleanup(f.index.Close)
	return d, f
}

func TestUnreadablePackKeepsNoOtherFromBeingIndexed(t *testing.T) {
	d, f := newUnreadable(t)
	all := []string{"aaa", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
	for _, name := range all {
		f.push(name, "", "1.0.0")
	}
	d.pack = "aaa"
	if err := f.index.Refresh(t.Context()); !errors.Is(err, errUnreadable) {
		t.Errorf("the refresh returns %v", err)
	}
	for _, name := range all[1:] {
		if f.index.lookUp(name) == nil {
			t.Errorf("%s is not indexed", name)
		}
	}
}

// A search goes on without a pack that cannot be read, also one that was changed by this process; where none can be read it says so.
func TestUnreadablePackKeepsNoOtherFromBeingFound(t *testing.T) {
	d, f := newUnreadable(t)
	for _, name := range []string{"aaa", "b", "c"} {
		f.push(name, "", "1.0.0")
	}
	f.refresh()
	d.pack = "aaa"
	f.index.Touch("aaa")
	for range 2 {
		if found := names(f.search(Query{Limit: 10}, nil).Rows); !slices.Equal(found, []string{"b", "c"}) {
			t.Errorf("found %v", found)
		}
	}
	if _, err := f.index.Search(t.Context(), Query{Limit: 10, Text: "aaa"}, func(string) bool { return true }); !errors.Is(err, errUnreadable) {
		t.Errorf("nothing can be read: %v", err)
	}
	d.pack = ""
	if found := names(f.search(Query{Limit: 10}, nil).Rows); len(found) != 3 {
		t.Errorf("found %v once it can be read again", found)
	}
}

func TestPagesGoOnPastPacksThatAreGone(t *testing.T) {
	for _, byDate := range []bool{false, true} {
		f := newFixture(t)
		all := []string{"a", "b", "c", "d", "e"}
		if byDate {
			slices.Reverse(all)
		}
		for _, name := range all {
			f.push(name, "", "1.0.0")
		}
		f.refresh()
		for _, name := range []string{"a", "b", "c", "d"} {
			if err := f.store.Repository(pack.Repository(name)).DeleteTag(t.Context(), "1.0.0"); err != nil {
				t.Fatal(err)
			}
		}
		var found []string
		for q := (Query{Limit: 1, ByDate: byDate}); ; {
			result := f.search(q, nil)
			found = append(found, names(result.Rows)...)
			if q.After = result.More; q.After == "" {
				break
			}
		}
		if !slices.Equal(found, []string{"e"}) {
			t.Errorf("by date %t: found %q", byDate, found)
		}
	}
}
