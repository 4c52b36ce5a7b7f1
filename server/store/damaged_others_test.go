package store

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// overwrite damages an object from outside.
func overwrite(t *testing.T, ctx context.Context, d driver.Driver, key, content string) { //nolint:revive // t is part of none
	t.Helper()
	_, version, err := d.Read(ctx, key)
	must(t, err)
	must(t, d.Replace(ctx, key, []byte(content), version))
}

// A manifest that is damaged stops nothing that is done to another: each is deleted, and the repository stays in the catalog for
// the one that is there.
func TestADamagedManifestStopsNoOther(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, _ *Store) {
		ctx, r := t.Context(), s.Repository("r")
		var all []digest.Digest
		for _, tag := range []string{"a", "b", "c", "d"} {
			all = append(all, pushImage(t, r, tag, "layer of "+tag))
		}
		overwrite(t, ctx, h.Driver, manifestKey("r", all[0]), "damaged")
		for _, m := range all[1:] {
			must(t, r.DeleteManifest(ctx, m))
		}
		if exists, err := r.Exists(ctx); err != nil || !exists {
			t.Errorf("the repository exists: %v, %v", exists, err)
		}
		if _, err := r.Tags(ctx, "b", 10); err != nil {
			t.Errorf("the tags after the last: %v", err)
		}
		must(t, r.DeleteTag(ctx, "a"))
		pushImage(t, r, "e", "layer of e")
	})
}

// An entry of a list of referrers that is damaged is made anew from its manifest, and a manifest that is damaged does not stop
// the list.
func TestADamagedReferrerStopsNoOther(t *testing.T) {
	ctx, d := t.Context(), inmemory.New()
	s, err := Open(ctx, d)
	must(t, err)
	r := s.Repository("r")
	subject := pushImage(t, r, "subject", "layer")
	refer := func(note string) digest.Digest {
		text := `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"` + digest.FromString("layer").String() + `","size":5},"subject":{"digest":"` + subject.String() +
			`","size":1},"annotations":{"note":"` + note + `"}}`
		m := digest.FromString(text)
		c, err := ParseManifest(ocispec.MediaTypeImageManifest, []byte(text))
		must(t, err)
		must(t, r.PutManifest(ctx, PutManifest{Digest: m, MediaType: ocispec.MediaTypeImageManifest, Content: []byte(text), Subject: subject,
			Referrer: c.referrer(ocispec.MediaTypeImageManifest, m, len(text))}))
		return m
	}
	for _, damage := range []string{"damaged", "{}", `{"digest":"sha256:x"}`} {
		t.Run(damage, func(t *testing.T) {
			one, two, three := refer("one"+damage[:1]), refer("two"+damage[:1]), refer("three"+damage[:1])
			overwrite(t, ctx, d, referrerKey("r", subject, one), damage)
			overwrite(t, ctx, d, manifestKey("r", two), damage)
			list, _, err := r.Referrers(ctx, subject, "", 100)
			must(t, err)
			found := map[digest.Digest]string{}
			for _, entry := range list {
				var descriptor ocispec.Descriptor
				must(t, json.Unmarshal(entry.Entry, &descriptor))
				found[entry.Digest] = descriptor.Annotations["note"]
			}
			if found[one] != "one"+damage[:1] || found[three] != "three"+damage[:1] || found[two] != "" {
				t.Errorf("listed are %v", found)
			}
			must(t, d.Delete(ctx, manifestKey("r", two)))
			must(t, d.Delete(ctx, referrerKey("r", subject, two)))
		})
	}
}

// In a store that is read only a blob whose data was removed is not there for HEAD either.
func TestHeadOfCollectedDataInAReadOnlyStore(t *testing.T) {
	ctx, d := t.Context(), inmemory.New()
	s, err := Open(ctx, d)
	must(t, err)
	r := s.Repository("r")
	for _, content := range []string{"there", "gone"} {
		_, err := upload(ctx, r, content)
		must(t, err)
	}
	gone := digest.FromString("gone")
	l, err := r.link(ctx, gone)
	must(t, err)
	now := time.Now()
	must(t, d.Create(ctx, markKey(l.Key), mustJSON(mark{Nonce: nonce(), Tombstoned: &now}), driver.Durable))
	must(t, d.Delete(ctx, l.Key))
	reader := newStore(d)
	reader.ReadOnly = true
	if size, err := reader.Repository("r").StatBlob(ctx, digest.FromString("there")); err != nil || size != 5 {
		t.Errorf("%d bytes, %v", size, err)
	}
	_, err = reader.Repository("r").StatBlob(ctx, gone)
	wantErr(t, err, ErrNotFound)
}
