package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// checkTags looks whether the tags that are listed are those that can be read.
func checkTags(t *testing.T, s *Store, repository string, want ...string) {
	t.Helper()
	r := s.Repository(repository)
	tags, err := r.Tags(t.Context(), "", 100)
	if err != nil && (len(want) > 0 || !errors.Is(err, ErrNotFound)) {
		t.Fatal(err)
	}
	for _, tag := range tags {
		if _, err := r.Tagged(t.Context(), tag); err != nil {
			t.Errorf("%s is listed: %v", tag, err)
		}
	}
	if want != nil && !slices.Equal(tags, want) {
		t.Errorf("listed are %v, not %v", tags, want)
	}
}

// Wherever the deletion of a manifest stops, what is listed afterwards can be read.
func TestInterruptedDeletionLeavesNoTagListed(t *testing.T) {
	for name, open := range map[string]func() driver.Driver{
		"conditional deletes": func() driver.Driver { return inmemory.New() },
		"tombstones":          func() driver.Driver { return tombstones{inmemory.New()} },
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after=%v", name, after), func(t *testing.T) {
				for point := int64(1); ; point++ {
					c := &crashing{Driver: open(), after: after}
					c.left.Store(1 << 40)
					s, err := Open(t.Context(), c)
					must(t, err)
					r := s.Repository("r")
					gone := pushImage(t, r, "gone", "layer")
					must(t, r.Tag(t.Context(), "gone-too", gone, "", true))
					pushImage(t, r, "kept", "another")
					c.left.Store(point)
					err = r.DeleteManifest(t.Context(), gone)
					ended := !c.dead.Load()
					c.restart(t)
					s, openErr := Open(t.Context(), c)
					must(t, openErr)
					checkTags(t, s, "r")
					if err := s.Repository("r").DeleteManifest(t.Context(), gone); err != nil && !errors.Is(err, ErrNotFound) {
						t.Errorf("once more: %v", err)
					}
					checkTags(t, s, "r", "kept")
					for range 3 {
						collect(t, s, Collection{})
					}
					checkTags(t, s, "r", "kept")
					if t.Failed() {
						t.Fatalf("stopped at write %d", point)
					}
					if ended {
						must(t, err)
						return
					}
				}
			})
		}
	}
}

// A tag is moved there and back, the first mover stopped before its last write; then the manifest is deleted.
func TestCrossingMovesLeaveNoTagListed(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx := t.Context()
		a, b := pushImage(t, others.Repository("r"), "moving", "a"), pushImage(t, others.Repository("r"), "other", "b")
		h.after["replace /t/moving"] = func() error {
			return others.Repository("r").Tag(ctx, "moving", a, "", true)
		}
		must(t, s.Repository("r").Tag(ctx, "moving", b, "", true))
		must(t, others.Repository("r").DeleteManifest(ctx, a))
		checkTags(t, others, "r", "other")
	})
}

// A tag that is moved while its manifest is deleted, or while it is deleted itself, was acknowledged and stays.
func TestMovedTagSurvivesADeletion(t *testing.T) {
	for what, remove := range map[string]func(ctx context.Context, r *Repository, a digest.Digest) error{
		"of its manifest": func(ctx context.Context, r *Repository, a digest.Digest) error { return r.DeleteManifest(ctx, a) },
		"of the tag":      func(ctx context.Context, r *Repository, _ digest.Digest) error { return r.DeleteTag(ctx, "moving") },
	} {
		// The storage deletes by one call and writes a tombstone by another.
		for _, call := range []string{"remove", "replace"} {
			t.Run(what+" at its "+call, func(t *testing.T) {
				forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
					ctx, r := t.Context(), others.Repository("r")
					a, b := pushImage(t, r, "moving", "a"), pushImage(t, r, "other", "b")
					h.before[call+" /t/moving"] = func() error { return r.Tag(ctx, "moving", b, "", true) }
					must(t, remove(ctx, s.Repository("r"), a))
					if len(h.before) > 0 {
						return // this storage makes no such call
					}
					checkTags(t, others, "r", "moving", "other")
					if m, err := r.Tagged(ctx, "moving"); err != nil || m.Digest != b {
						t.Errorf("%v, %v", m, err)
					}
				})
			})
		}
	}
}

// A tag is set on a manifest that is deleted at that moment: the push is answered so, and the tag names what it named before.
func TestTagIsTakenBack(t *testing.T) {
	for _, before := range []string{"", "before"} {
		t.Run("named "+before, func(t *testing.T) {
			forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
				ctx, r := t.Context(), others.Repository("r")
				going, other := pushImage(t, r, "", "going"), pushImage(t, r, "other", "before")
				want := []string{"other"}
				if before != "" {
					must(t, r.Tag(ctx, "tag", other, "", true))
					want = append(want, "tag")
				}
				h.before["replace /t/tag"] = func() error { return r.DeleteManifest(ctx, going) }
				wantErr(t, s.Repository("r").Tag(ctx, "tag", going, "", true), ErrTryAgain)
				checkTags(t, others, "r", want...)
			})
		})
	}
}

// Tags that were deleted do not show, on whatever page they fall, and show again when they are set again.
func TestPagesPassOverDeletedTags(t *testing.T) {
	forEachPromise(t, func(t *testing.T, _ *hooked, s, _ *Store) {
		ctx, r := t.Context(), s.Repository("r")
		m := pushImage(t, r, "", "layer")
		var want []string
		for i := range 60 {
			tag := fmt.Sprintf("v1.%02d", i)
			must(t, r.Tag(ctx, tag, m, "", true))
			must(t, r.Tag(ctx, tag+"-rc1", m, "", true))
			if i%3 > 0 {
				must(t, r.DeleteTag(ctx, tag))
				wantErr(t, r.DeleteTag(ctx, tag), ErrNotFound)
			}
			if i%3 > 1 {
				must(t, r.Tag(ctx, tag, m, "", false))
			}
			if i%3 != 1 {
				want = append(want, tag)
			}
			want = append(want, tag+"-rc1")
		}
		for _, limit := range []int{1, 2, 7, 100, 1000} {
			var found []string
			for after := ""; ; after = found[len(found)-1] {
				page, err := r.Tags(ctx, after, limit)
				must(t, err)
				found = append(found, page...)
				if len(page) < limit {
					break
				}
			}
			if !slices.Equal(found, want) {
				t.Errorf("pages of %d:\n%v\nwant\n%v", limit, found, want)
			}
		}
		for range 3 {
			collect(t, s, Collection{})
		}
		checkTags(t, s, "r", want...)
		must(t, r.DeleteManifest(ctx, m))
		checkTags(t, s, "r")
		for _, key := range everything(t, s) {
			if strings.Contains(key, "/g/") || strings.Contains(key, "/d/!") {
				t.Errorf("left: %s", key)
			}
		}
	})
}
