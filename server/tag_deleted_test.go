package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// withoutConditions is a storage that cannot delete on a condition, as S3 servers other than AWS. It counts what is read.
type withoutConditions struct {
	driver.Driver
	reads atomic.Int64
}

func (*withoutConditions) DeleteUnchanged(context.Context, string, driver.Version) error {
	return errors.ErrUnsupported
}

func (w *withoutConditions) Read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	w.reads.Add(1)
	return w.Driver.Read(ctx, key)
}

// Where thousands of tags were made and deleted a page of tags reads so many of them and no more, and whoever follows the
// links gets all that there are.
func TestTagsAmongManyThatWereDeleted(t *testing.T) {
	d := &withoutConditions{Driver: inmemory.New()}
	f := start(t, d, "}", nil)
	r, ctx := f.store.Repository("spectro-packs/archive/x"), t.Context()
	text := []byte(`{"schemaVersion":2}`)
	m := digest.FromBytes(text)
	if err := r.PutManifest(ctx, store.PutManifest{Digest: m, Content: text}); err != nil {
		t.Fatal(err)
	}
	const deleted = 3000
	alive := []string{"0.1.0", "1.0.1777", "1.0.2", "9.0.0"}
	for i := range deleted {
		alive := slices.Contains(alive, fmt.Sprintf("1.0.%d", i))
		if err := r.Tag(ctx, fmt.Sprintf("1.0.%d", i), m, "", true); err != nil {
			t.Fatal(err)
		}
		if alive {
			continue
		}
		if err := r.DeleteTag(ctx, fmt.Sprintf("1.0.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tag := range []string{"0.1.0", "9.0.0"} {
		if err := r.Tag(ctx, tag, m, "", true); err != nil {
			t.Fatal(err)
		}
	}
	for api, want := range map[string][]string{
		"/v2/spectro-packs/archive/x": alive,
		"/v1/x":                       {"0.1.0", "0.1.x", "0.x", "1.0.1777", "1.0.2", "1.0.x", "1.x", "9.0.0", "9.0.x", "9.x"},
	} {
		for _, query := range []string{"", "?n=3"} {
			var found []string
			for path, pages := api+"/tags/list"+query, 0; path != ""; pages++ {
				if pages > 20 {
					t.Fatalf("%s%s: so many pages", api, query)
				}
				before := d.reads.Load()
				response := f.do("GET", path, nil)
				if n := d.reads.Load() - before; n > 2300 && api[:3] == "/v2" || n > 8500 { // the versions of each parent are looked for, too, and whether these are all tags
					t.Errorf("%s reads %d objects", path, n)
				}
				var page struct{ Tags []string }
				if err := json.NewDecoder(response.Body).Decode(&page); err != nil || response.StatusCode != http.StatusOK {
					t.Fatal(response.Status, err)
				}
				found = append(found, page.Tags...)
				path = ""
				if match := nextLink.FindStringSubmatch(response.Header.Get("Link")); match != nil {
					path = match[1]
				}
			}
			if !slices.Equal(found, want) {
				t.Errorf("%s%s: %v, want %v", api, query, found, want)
			}
		}
	}
}
