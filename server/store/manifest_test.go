package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// referrerOf is a push of a manifest of one layer whose subject is given.
func referrerOf(subject, layer digest.Digest) PutManifest {
	text := image(layer)
	d := digest.FromString(text)
	return PutManifest{Digest: d, MediaType: "m", Content: []byte(text), Blobs: []digest.Digest{layer},
		Subject: subject, Referrer: &ocispec.Descriptor{MediaType: "m", Digest: d, Size: int64(len(text))}}
}

// A manifest whose layer goes while it is pushed is refused, and is not there afterwards, in no list.
func TestRefusedManifestIsNotThere(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx, r := t.Context(), others.Repository("r")
		subject := pushImage(t, others.Repository("r"), "", "subject")
		layer, err := upload(ctx, r, "layer")
		must(t, err)
		p := referrerOf(subject, layer)
		h.after["create /m/"+digestName(p.Digest)] = func() error { return r.DeleteBlob(ctx, layer) }
		wantErr(t, s.Repository("r").PutManifest(ctx, p), ErrNotFound)
		_, err = r.Manifest(ctx, p.Digest)
		wantErr(t, err, ErrNotFound)
		if list, _, err := r.Referrers(ctx, subject, "", 10); len(list) > 0 || err != nil {
			t.Errorf("referrers: %v, %v", list, err)
		}
		index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":%q,"size":1}]}`, p.Digest)
		wantErr(t, r.PutManifest(ctx, PutManifest{Digest: digest.FromString(index), Content: []byte(index), Manifests: []digest.Digest{p.Digest}}), ErrNotFound)

		// The only one of a repository leaves no repository.
		single := others.Repository("single")
		layer, err = upload(ctx, single, "layer")
		must(t, err)
		p = referrerOf("", layer)
		h.after["create /m/"+digestName(p.Digest)] = func() error { return single.DeleteBlob(ctx, layer) }
		wantErr(t, s.Repository("single").PutManifest(ctx, p), ErrNotFound)
		if names, err := others.Repositories(ctx, "", "", 10); !slices.Equal(names, []string{"r"}) || err != nil {
			t.Errorf("catalog: %v, %v", names, err)
		}
		// With its layer it can be pushed.
		_, err = upload(ctx, single, "layer")
		must(t, err)
		must(t, s.Repository("single").PutManifest(ctx, p))
		_, err = single.Manifest(ctx, p.Digest)
		must(t, err)
	})
}

// One who is about to be refused does not take away what another was answered is stored: the layer came back, and the same
// manifest was pushed and tagged meanwhile.
func TestRefusedManifestStaysForOthers(t *testing.T) {
	for _, at := range []string{"before replace", "after replace", "before remove"} {
		t.Run(at, func(t *testing.T) {
			forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
				ctx, r := t.Context(), others.Repository("r")
				layer, err := upload(ctx, r, "layer")
				must(t, err)
				p := referrerOf("", layer)
				key := "/m/" + digestName(p.Digest)
				h.after["create "+key] = func() error { return r.DeleteBlob(ctx, layer) }
				acknowledged := false
				push := func() error {
					_, err := upload(ctx, r, "layer")
					err = errors.Join(err, r.PutManifest(ctx, p), r.Tag(ctx, "theirs", p.Digest, "", true))
					acknowledged = err == nil
					return err
				}
				when, call, _ := strings.Cut(at, " ")
				map[string]map[string]func() error{"before": h.before, "after": h.after}[when][call+" "+key] = push
				err = s.Repository("r").PutManifest(ctx, p)
				if !acknowledged {
					t.Fatal("the other did not push")
				}
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				checkTags(t, others, "r", "theirs")
				for range 3 {
					collect(t, others, Collection{})
				}
				checkTags(t, others, "r", "theirs")
				if got := readBlob(t, r, layer); got != "layer" {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

// Two push a manifest whose layer goes, and both are refused: it is not there.
func TestManifestThatTwoAreRefused(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx, r := t.Context(), others.Repository("r")
		layer, err := upload(ctx, r, "layer")
		must(t, err)
		p := referrerOf("", layer)
		key := "/m/" + digestName(p.Digest)
		h.after["create "+key] = func() error { return r.DeleteBlob(ctx, layer) }
		h.after["replace "+key] = func() error {
			wantErr(t, r.PutManifest(ctx, p), ErrNotFound)
			return nil
		}
		wantErr(t, s.Repository("r").PutManifest(ctx, p), ErrNotFound)
		_, err = r.Manifest(ctx, p.Digest)
		wantErr(t, err, ErrNotFound)
	})
}

// The client gives up while its push is refused: the manifest is taken back all the same.
func TestRefusedManifestOfAClientThatIsGone(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx, r := t.Context(), others.Repository("r")
		layer, err := upload(ctx, r, "layer")
		must(t, err)
		p := referrerOf("", layer)
		request, giveUp := context.WithCancel(ctx)
		h.after["create /m/"+digestName(p.Digest)] = func() error { return r.DeleteBlob(ctx, layer) }
		h.before["replace /m/"+digestName(p.Digest)] = func() error {
			giveUp()
			return nil
		}
		wantErr(t, s.Repository("r").PutManifest(request, p), ErrNotFound)
		_, err = r.Manifest(ctx, p.Digest)
		wantErr(t, err, ErrNotFound)
	})
}
