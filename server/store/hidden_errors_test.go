package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A storage that fails is not answered like something that is not there.
func TestErrorsOfTheStorageAreNotHidden(t *testing.T) {
	broken := errors.New("the storage is broken")
	fail := func() error { return broken }
	check := func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, broken) || errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
	forEachPromise(t, func(t *testing.T, h *hooked, s, _ *Store) {
		ctx, r := t.Context(), s.Repository("r")
		m := pushImage(t, r, "", "one", "two")

		h.before["list /g/"+digestName(digest.FromString("none"))+"/"] = fail
		check(t, r.DeleteManifest(ctx, digest.FromString("none")))

		files := []File{{Name: "gone", Digest: digest.FromString("gone")}, {Name: "one", Digest: digest.FromString("one")}}
		h.before["read "+linkKey("r", digest.FromString("one"))] = fail
		check(t, r.RecordPack(ctx, m, "1.0", files))
		wantErr(t, r.RecordPack(ctx, m, "1.0", files), ErrNotFound)

		// An upload whose bytes were committed by a process that died then.
		const content = "one two three"
		d := digest.FromString(content)
		u, err := r.NewUpload(digest.SHA256)
		must(t, err)
		must(t, u.Append(ctx, strings.NewReader("one two ")))
		again, err := r.Upload(ctx, u.id)
		must(t, err)
		w, err := u.open(ctx)
		must(t, err)
		_, err = w.copy(strings.NewReader("three"))
		must(t, err)
		must(t, errors.Join(w.Commit(ctx, dataKey(d, 0)), w.Close()))
		h.before["stat "+dataKey(d, 0)] = fail
		check(t, again.Commit(ctx, strings.NewReader("three"), d))
		must(t, again.Commit(ctx, strings.NewReader("three"), d))
	})
}
