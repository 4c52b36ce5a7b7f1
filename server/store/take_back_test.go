package store

import (
	"testing"
	"time"

	"packregistry.dev/server/store/driver"
)

// wantTag looks whether a tag names a manifest.
func wantTag(t *testing.T, r *Repository, tag string, want string) {
	t.Helper()
	if m, err := r.Tagged(t.Context(), tag); err != nil || string(m.Digest) != want {
		t.Errorf("%s names %v (%v), not %s", tag, m, err, want)
	}
}

// What a tag gets back has its entry of the reverse index, also where a collector removed that meanwhile.
func TestTagThatIsTakenBackIsIndexed(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx, r := t.Context(), others.Repository("r")
		going, before := pushImage(t, r, "", "going"), pushImage(t, r, "tag", "before")
		pushImage(t, r, "kept", "kept")
		h.before["replace /t/tag"] = func() error { return r.DeleteManifest(ctx, going) }
		h.after["replace /t/tag"] = func() error { return r.unindex(ctx, before, "tag") }
		wantErr(t, s.Repository("r").Tag(ctx, "tag", going, "", true), ErrTryAgain)
		wantTag(t, r, "tag", string(before))
		if _, err := others.d.Stat(ctx, taggedKey("r", before, "tag")); err != nil {
			t.Errorf("the reverse index lacks it: %v", err)
		}
		must(t, r.DeleteManifest(ctx, before))
		checkTags(t, others, "r", "kept")
	})
}

// A collector that writes a tag once more, as it is, takes it away from nobody.
func TestTagThatACollectorTouchedIsTakenBack(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx, r := t.Context(), others.Repository("r")
		going, before := pushImage(t, r, "", "going"), pushImage(t, r, "tag", "before")
		// What a deletion left that was interrupted before it came to the tag.
		must(t, others.d.Create(ctx, tagDeletionKey("r", "tag", "x"), nil, driver.Durable))
		h.before["replace /t/tag"] = func() error { return r.DeleteManifest(ctx, going) }
		h.after["replace /t/tag"] = func() error {
			c := &repositoryCollection{collector: &collector{s: others}, r: r}
			return c.mendTagDeletions(ctx, "tag", []string{tagDeletionKey("r", "tag", "x")})
		}
		wantErr(t, s.Repository("r").Tag(ctx, "tag", going, "", true), ErrTryAgain)
		wantTag(t, r, "tag", string(before))
	})
}

// Where another moved the tag between two rounds, that is what the tag gets back.
func TestTagIsTakenBackToWhatCameLast(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx, r := t.Context(), others.Repository("r")
		going := pushImage(t, r, "", "going")
		pushImage(t, r, "tag", "before")
		last := pushImage(t, r, "", "last")
		s.now = func() time.Time { return time.Unix(1, 0) }
		// Round 1 writes the tag; the manifest goes and comes again, and another moves the tag.
		h.after["replace /t/tag"] = func() error {
			must(t, r.DeleteManifest(ctx, going))
			pushImage(t, r, "", "going")
			must(t, r.Tag(ctx, "tag", last, "", true))
			// Round 2 writes it again, and the manifest goes.
			h.before["replace /t/tag"] = func() error { return r.DeleteManifest(ctx, going) }
			return nil
		}
		wantErr(t, s.Repository("r").Tag(ctx, "tag", going, "", true), ErrTryAgain)
		wantTag(t, r, "tag", string(last))
	})
}

// The collector may remove what is pushed by a tag between these two, where untagged manifests are kept for no time.
func TestTagOfWhatACollectorRemovedIsTakenBack(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx, r := t.Context(), others.Repository("r")
		going, before := pushImage(t, r, "", "going"), pushImage(t, r, "tag", "before")
		h.before["replace /t/tag"] = func() error {
			others.now = func() time.Time { return time.Now().Add(time.Hour) }
			for range 3 {
				collect(t, others, Collection{Grace: time.Nanosecond, KeepUntagged: time.Nanosecond})
			}
			return nil
		}
		wantErr(t, s.Repository("r").Tag(ctx, "tag", going, "", true), ErrTryAgain)
		wantTag(t, r, "tag", string(before))
	})
}
