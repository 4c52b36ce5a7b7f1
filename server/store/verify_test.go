package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// damage changes an object behind the store's back.
func damage(t *testing.T, s *Store, key, content string) {
	t.Helper()
	must(t, s.d.Delete(t.Context(), key))
	must(t, s.d.Create(t.Context(), key, []byte(content), driver.Durable))
}

func verify(t *testing.T, s *Store, quarantine bool) (Verified, []string) {
	t.Helper()
	var problems []string
	done, err := s.Verify(t.Context(), Verification{Quarantine: quarantine, Found: func(p Problem) {
		problems = append(problems, fmt.Sprintf("%s %s %s", p.Kind, p.Repository, p.Digest))
	}})
	must(t, err)
	slices.Sort(problems)
	return done, problems
}

func TestVerify(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r, other := s.Repository("r"), s.Repository("other")
		pushImage(t, r, "good", "good", "shared")
		pushImage(t, other, "too", "shared")
		bad := pushImage(t, r, "bad", "only here")
		lost := pushImage(t, r, "lost", "lost")
		broken := pushImage(t, r, "broken", "good")
		if done, problems := verify(t, s, false); len(problems) != 0 || done.Blobs != 4 || done.Manifests != 5 || done.Bytes != int64(len("goodsharedonly herelost")) {
			t.Errorf("a whole store: %+v, %v", done, problems)
		}
		shared, gone := digest.FromString("shared"), digest.FromString("lost")
		damage(t, s, dataKey(shared, 0), "SHARED")
		must(t, s.d.Delete(ctx, dataKey(gone, 0)))
		damage(t, s, manifestKey("r", broken), "{}\n{}")
		mine := digest.FromString("only here")
		damage(t, s, linkKey("r", mine), "{")
		damage(t, s, tagKey("r", "bad"), "{")
		want := []string{
			fmt.Sprintf("corrupt-blob  %s", shared),
			fmt.Sprintf("corrupt-link r %s", mine),
			fmt.Sprintf("corrupt-manifest r %s", broken),
			"corrupt-tag r ",
			fmt.Sprintf("missing-data r %s", gone),
		}
		if _, problems := verify(t, s, false); !slices.Equal(problems, want) {
			t.Errorf("found\n%s\nwant\n%s", strings.Join(problems, "\n"), strings.Join(want, "\n"))
		}
		done, _ := verify(t, s, true)
		if done.Quarantined != 5 {
			t.Errorf("quarantined: %+v", done)
		}
		// It answers as if it had never been there, in every repository, and is kept aside.
		for _, repository := range []*Repository{r, other} {
			if has, err := repository.HasBlob(ctx, shared); has || err != nil {
				t.Errorf("%s: %v, %v", repository.name, has, err)
			}
		}
		_, err := r.Manifest(ctx, broken)
		wantErr(t, err, ErrNotFound)
		names, err := s.d.List(ctx, "q/sha256/"+shared.Encoded()[:2]+"/", "", 10)
		must(t, err)
		if len(names) != 1 {
			t.Errorf("kept aside: %v", names)
		}
		// It can be pushed again at once, and stays.
		for _, repository := range []*Repository{r, other} {
			_, err := upload(ctx, repository, "shared")
			must(t, err)
		}
		_, err = upload(ctx, r, "lost")
		must(t, err)
		pushImage(t, r, "broken", "good")
		pushImage(t, r, "bad", "only here")
		if got := readBlob(t, other, shared); got != "shared" {
			t.Errorf("pushed again: %q", got)
		}
		for range 3 {
			collect(t, s, Collection{})
		}
		if _, problems := verify(t, s, false); len(problems) != 0 {
			t.Errorf("afterwards: %v", problems)
		}
		for _, m := range []digest.Digest{bad, lost} {
			_, err = r.Manifest(ctx, m)
			must(t, err)
		}
	})
}

func TestVerifyKeepsToItsRate(t *testing.T) {
	s, err := Open(t.Context(), drivers["inmemory"](t))
	must(t, err)
	_, err = upload(t.Context(), s.Repository("r"), strings.Repeat("x", 4*verifyBuffer))
	must(t, err)
	began := time.Now()
	_, err = s.Verify(t.Context(), Verification{BytesPerSecond: 10 * verifyBuffer})
	must(t, err)
	if took := time.Since(began); took < 250*time.Millisecond { // a burst is free, the other three are not
		t.Errorf("took %s", took)
	}
}

// What links and manifests name is looked for, whether or not anybody refers to the link; a link without content does not stay
// where it would keep clients from pushing that again.
func TestVerifyFindsWhatIsMissing(t *testing.T) {
	forEach(t, func(t *testing.T, s *Store) {
		ctx, r := t.Context(), s.Repository("r")
		loose, err := upload(ctx, r, "loose")
		must(t, err)
		pushImage(t, r, "v1", "named")
		named, unlinked := digest.FromString("named"), digest.FromString("unlinked")
		pushImage(t, r, "v2", "unlinked")
		must(t, s.d.Delete(ctx, dataKey(loose, 0)))
		must(t, s.d.Delete(ctx, dataKey(named, 0)))
		must(t, r.DeleteBlob(ctx, unlinked))
		want := []string{
			fmt.Sprintf("missing-blob r %s", unlinked),
			fmt.Sprintf("missing-data r %s", named),
			fmt.Sprintf("missing-data r %s", loose),
		}
		slices.Sort(want)
		for _, quarantine := range []bool{false, true} {
			if _, problems := verify(t, s, quarantine); !slices.Equal(problems, want) && !quarantine {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(problems, "\n"), strings.Join(want, "\n"))
			}
		}
		for _, content := range []string{"loose", "named", "unlinked"} {
			if has, err := r.HasBlob(ctx, digest.FromString(content)); has || err != nil {
				t.Errorf("%s: %v, %v", content, has, err)
			}
			_, err := upload(ctx, r, content)
			must(t, err)
		}
		if _, problems := verify(t, s, false); len(problems) > 0 {
			t.Errorf("after they were pushed again: %v", problems)
		}
	})
}
