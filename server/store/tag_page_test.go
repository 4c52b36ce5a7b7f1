package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// listing counts the lists that a driver is asked for.
type listing struct {
	driver.Driver
	lists atomic.Int64
}

func (l *listing) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	l.lists.Add(1)
	return l.Driver.List(ctx, prefix, after, limit)
}

// A small page that begins among deleted tags takes no list for each of these.
func TestASmallPageAmongTombstones(t *testing.T) {
	l := &listing{Driver: tombstones{inmemory.New()}}
	s, err := Open(t.Context(), l)
	must(t, err)
	r, ctx := s.Repository("r"), t.Context()
	d := pushImage(t, r, "z", "image")
	for i := range 500 {
		tag := fmt.Sprintf("t%03d", i)
		must(t, r.Tag(ctx, tag, d, "", true))
		must(t, r.DeleteTag(ctx, tag))
	}
	l.lists.Store(0)
	tags, more, err := r.TagPage(ctx, "", 1)
	if fmt.Sprint(tags) != "[z]" || more != "z" || err != nil {
		t.Errorf("%v, more after %q, %v", tags, more, err)
	}
	if n := l.lists.Load(); n > 20 {
		t.Errorf("it takes %d lists", n)
	}
}
