package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
)

// referring is an index with a subject and annotations of that many bytes.
func referring(subject digest.Digest, n, annotations int) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"a/%d","manifests":[],"subject":{"digest":%q,"size":1},"annotations":{"a":%q}}`,
		imageIndex, n%2, subject, strings.Repeat("x", annotations)+fmt.Sprint(n))
}

// referrers follows the pages of a list, and returns what is on them.
func (f *fixture) referrers(path string) (all []ocispec.Descriptor, pages int) {
	f.t.Helper()
	for ; path != ""; pages++ {
		r := f.do("GET", path, nil)
		body := text(r)
		var page ocispec.Index
		if err := json.Unmarshal([]byte(body), &page); err != nil || r.StatusCode != http.StatusOK {
			f.t.Fatalf("%s: %s, %v", path, r.Status, err)
		}
		if len(body) > 1<<20+1<<10 {
			f.t.Errorf("a page has %d bytes", len(body))
		}
		if len(page.Manifests) == 0 && pages > 0 {
			f.t.Errorf("page %d is empty", pages)
		}
		all, path = append(all, page.Manifests...), ""
		if m := nextLink.FindStringSubmatch(r.Header.Get("Link")); m != nil {
			path = m[1]
		}
	}
	return all, pages
}

// What an anonymous request for referrers costs does not depend on what somebody wrote into their annotations.
func TestReferrersAreBounded(t *testing.T) {
	f := open0(t)
	subject := digest.FromString("subject")
	path := "/v2/r/referrers/" + subject.String()
	put := func(name, manifest string) *http.Response {
		return f.do("PUT", "/v2/"+name+"/manifests/"+digest.FromString(manifest).String(), strings.NewReader(manifest), "Content-Type", imageIndex)
	}
	for i := range 40 {
		f.want(put("r", referring(subject, i, 60_000)), 201)
	}
	for what, manifest := range map[string]string{
		"annotations":   referring(subject, 0, 70_000),
		"artifact type": fmt.Sprintf(`{"schemaVersion":2,"manifests":[],"artifactType":%q,"subject":{"digest":%q,"size":1}}`, strings.Repeat("x", 70_000), subject),
	} {
		t.Run(what, func(t *testing.T) { f.want(put("r", manifest), 400, "MANIFEST_INVALID", "65536 bytes") })
	}
	// Without a subject nothing is copied.
	f.want(put("r", fmt.Sprintf(`{"schemaVersion":2,"manifests":[],"annotations":{"a":%q}}`, strings.Repeat("x", 70_000))), 201)

	all, pages := f.referrers(path)
	if len(all) != 40 || pages != 3 {
		t.Errorf("%d referrers on %d pages", len(all), pages)
	}
	if some, _ := f.referrers(path + "?artifactType=a/1"); len(some) != 20 {
		t.Errorf("%d referrers of one type", len(some))
	}
	f.wantCost(path, 24<<20)
}

// Lists that an earlier version wrote have entries of any size, and their manifests have too.
func TestReferrersOfAnEarlierVersionAreBounded(t *testing.T) {
	d := inmemory.New()
	f := start(t, d, "}", nil)
	r, subject := f.store.Repository("r"), digest.FromString("subject")
	for i := range 12 {
		text := referring(subject, i, 3_900_000)
		own := digest.FromString(text)
		entry := &ocispec.Descriptor{MediaType: imageIndex, Digest: own, Size: int64(len(text)), ArtifactType: "a", Annotations: map[string]string{"a": strings.Repeat("x", 3_900_000)}}
		if err := r.PutManifest(t.Context(), store.PutManifest{Digest: own, MediaType: imageIndex, Content: []byte(text), Subject: subject, Referrer: entry}); err != nil {
			t.Fatal(err)
		}
	}
	path := "/v2/r/referrers/" + subject.String()
	all, _ := f.referrers(path)
	if len(all) != 12 {
		t.Fatalf("%d referrers", len(all))
	}
	for _, d := range all {
		if m := f.do("HEAD", "/v2/r/manifests/"+d.Digest.String(), nil); m.ContentLength != d.Size || m.Header.Get("Content-Type") != d.MediaType {
			t.Errorf("%+v is %s of %d bytes", d, m.Header.Get("Content-Type"), m.ContentLength)
		}
	}
	f.wantCost(path, 8<<20)
}

// wantCost expects that a GET takes little memory, and a HEAD nearly none.
func (f *fixture) wantCost(path string, most uint64) {
	f.t.Helper()
	for method, most := range map[string]uint64{http.MethodGet: most, http.MethodHead: 64 << 10} {
		least := ^uint64(0)
		for range 3 {
			memory, _ := testfuzz.Cost(func() {
				w := &quiet{header: http.Header{}}
				f.ServeHTTP(w, httptest.NewRequestWithContext(f.t.Context(), method, path, nil))
				if w.status != http.StatusOK || w.header.Get("Content-Type") != imageIndex {
					f.t.Errorf("%s: %d %v", method, w.status, w.header)
				}
			})
			least = min(least, memory)
		}
		if least > most {
			f.t.Errorf("%s took %d KiB", method, least>>10)
		}
	}
}
