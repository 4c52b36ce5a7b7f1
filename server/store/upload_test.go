package store

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestUpload(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("a/b")
		u, err := r.NewUpload(digest.SHA256)
		must(t, err)
		must(t, u.Append(ctx, strings.NewReader("hello ")))
		// Another process goes on.
		u, err = r.Upload(ctx, u.ID())
		must(t, err)
		if u.Offset() != 6 {
			t.Errorf("stands at %d", u.Offset())
		}
		d := digest.FromString("hello world")
		_, err = r.StatBlob(ctx, d)
		wantErr(t, err, ErrNotFound)
		must(t, u.Commit(ctx, strings.NewReader("world"), d))
		if got := readBlob(t, r, d); got != "hello world" {
			t.Errorf("read %q", got)
		}
		_, err = r.Upload(ctx, u.ID())
		wantErr(t, err, ErrNotFound)
		// It is in this repository alone.
		_, err = s.Repository("a/c").StatBlob(ctx, d)
		wantErr(t, err, ErrNotFound)
		must(t, s.Repository("a/c").MountBlob(ctx, r, d))
		must(t, r.DeleteBlob(ctx, d))
		_, err = r.StatBlob(ctx, d)
		wantErr(t, err, ErrNotFound)
		if got := readBlob(t, s.Repository("a/c"), d); got != "hello world" {
			t.Errorf("mounted: %q", got)
		}
	})
}

func TestUploadDigests(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("r")
		for _, tt := range []struct {
			announced digest.Algorithm
			committed digest.Digest
		}{
			{digest.SHA256, digest.SHA256.FromString("text")},
			{digest.SHA512, digest.SHA512.FromString("text")},
			{digest.SHA256, digest.SHA512.FromString("text")}, // read once more
			{digest.SHA256, digest.SHA256.FromString("")},
		} {
			u, err := r.NewUpload(tt.announced)
			must(t, err)
			text := "text"
			if tt.committed == digest.FromString("") {
				text = ""
			}
			must(t, u.Commit(ctx, strings.NewReader(text), tt.committed))
			if got := readBlob(t, r, tt.committed); got != text {
				t.Errorf("%s: %q", tt.committed, got)
			}
		}
		u, err := r.NewUpload(digest.SHA256)
		must(t, err)
		wantErr(t, u.Commit(ctx, strings.NewReader("text"), digest.FromString("another")), ErrDigestMismatch)
		_, err = r.Upload(ctx, u.ID())
		wantErr(t, err, ErrNotFound)
	})
}

// A connection that breaks in the middle loses nothing: the client asks where the upload stands, and goes on.
func TestBrokenConnectionIsResumed(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("r")
		u, err := r.NewUpload(digest.SHA256)
		must(t, err)
		broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))
		wantErr(t, u.Append(ctx, broken), io.ErrUnexpectedEOF)
		u, err = r.Upload(ctx, u.ID())
		must(t, err)
		if u.Offset() != 4 {
			t.Fatalf("stands at %d", u.Offset())
		}
		// The last request breaks too, at once and then in the middle: it can be made again as it was.
		d := digest.FromString("half and half")
		err = u.Commit(ctx, iotest.ErrReader(io.ErrUnexpectedEOF), d)
		wantErr(t, err, io.ErrUnexpectedEOF)
		if errors.Is(err, ErrOutOfOrder) {
			t.Errorf("the client did nothing wrong: %v", err)
		}
		wantErr(t, u.Commit(ctx, io.MultiReader(strings.NewReader(" and "), iotest.ErrReader(io.ErrUnexpectedEOF)), d), io.ErrUnexpectedEOF)
		u, err = r.Upload(ctx, u.ID())
		must(t, err)
		if u.Offset() != 4 {
			t.Fatalf("stands at %d", u.Offset())
		}
		must(t, u.Commit(ctx, strings.NewReader(" and half"), d))
	})
}

// Of two that write the same step one wins; the other is refused.
func TestConcurrentSteps(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("r")
		u, err := r.NewUpload(digest.SHA256)
		must(t, err)
		first, err := r.Upload(ctx, u.ID())
		must(t, err)
		second, err := r.Upload(ctx, u.ID())
		must(t, err)
		must(t, first.Append(ctx, strings.NewReader("first")))
		wantErr(t, second.Append(ctx, strings.NewReader("other")), ErrOutOfOrder)
		must(t, first.Commit(ctx, strings.NewReader(""), digest.FromString("first")))
	})
}

func TestUploadsBelongToTheirRepository(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		u, err := s.Repository("r").NewUpload(digest.SHA256)
		must(t, err)
		_, err = s.Repository("other").Upload(t.Context(), u.ID())
		wantErr(t, err, ErrNotFound)
		for _, id := range []string{"", "..", "../../format", strings.Repeat("a", 1000)} {
			_, err = s.Repository("r").Upload(t.Context(), id)
			wantErr(t, err, ErrNotFound)
		}
	})
}

func TestPurgeUploads(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := s.Repository("r")
		s.now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
		old, err := r.NewUpload(digest.SHA256)
		must(t, err)
		must(t, old.Append(ctx, strings.NewReader("x")))
		s.now = time.Now
		young, err := r.NewUpload(digest.SHA256)
		must(t, err)
		for _, dryRun := range []bool{true, false} {
			n, err := s.PurgeUploads(ctx, time.Hour, dryRun)
			if n != 1 || err != nil {
				t.Errorf("purged %d, %v", n, err)
			}
		}
		names, err := s.d.List(ctx, uploadsPrefix, "", 10)
		must(t, err)
		if len(names) != 0 {
			t.Errorf("left: %v", names)
		}
		s.UploadAge = time.Hour
		_, err = r.Upload(ctx, old.ID())
		wantErr(t, err, ErrNotFound)
		_, err = r.Upload(ctx, young.ID())
		must(t, err)
	})
}
