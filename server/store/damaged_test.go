package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// Records that are JSON and yet say nothing that can be used are damaged: they are reported, and nothing panics.
func TestDamagedRecords(t *testing.T) {
	other := digest.FromString("other")
	for _, text := range []string{`{}`, `null`, `{"digest":"x","subject":"x","files":[{"name":"f","digest":"x"}],"key":"../x"}`, `{"digest":"sha256:..","key":"m/x","size":-1,"subject":"sha256:"}`} {
		t.Run(text, func(t *testing.T) {
			ctx, d := t.Context(), inmemory.New()
			s, err := Open(ctx, d)
			must(t, err)
			r := s.Repository("r")
			m := pushImage(t, r, "good", "layer")
			layer := digest.FromString("layer")
			damage := func(key, content string) {
				t.Helper()
				_, version, err := d.Read(ctx, key)
				if err != nil {
					version = ""
				}
				must(t, d.Replace(ctx, key, []byte(content), version))
			}
			damage(tagKey("r", "bad"), text)
			must(t, d.Create(ctx, manifestDeletionKey("r", m, "n"), nil, driver.Durable))
			must(t, d.Create(ctx, taggedKey("r", m, "bad"), nil, driver.Durable)) // so that lists read that tag
			if _, err := r.Tagged(ctx, "bad"); err == nil || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("the tag: %v", err)
			}
			if tags, err := r.Tags(ctx, "", 10); err != nil || fmt.Sprint(tags) != "[bad good]" {
				t.Errorf("%v, %v", tags, err)
			}
			wantErr(t, r.DeleteTag(ctx, "bad"), ErrDamaged)
			wantErr(t, r.Tag(ctx, "bad", m, "", true), ErrDamaged)

			damage(linkKey("r", layer), text)
			_, err = r.Blob(ctx, layer)
			wantErr(t, err, ErrDamaged)
			_, err = r.StatBlob(ctx, layer)
			wantErr(t, err, ErrDamaged)

			if strings.Contains(text, "subject") {
				damage(manifestKey("r", other), text+"\n{}")
				_, err = r.Manifest(ctx, other)
				wantErr(t, err, ErrDamaged)
				wantErr(t, r.DeleteManifest(ctx, other), ErrDamaged)
				must(t, d.Delete(ctx, manifestKey("r", other)))
			}
			for range 3 {
				//nolint:errcheck // it may report the damage; that it comes back is what is looked at
				s.Collect(ctx, Collection{})
			}
			must(t, r.DeleteManifest(ctx, m))
		})
	}
}
