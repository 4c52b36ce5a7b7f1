package server

import (
	"strings"
	"testing"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// An upload that came in very many requests is refused the next PATCH, with the reason, and may be ended.
func TestTooManyPatches(t *testing.T) {
	d, ctx := inmemory.New(), t.Context()
	f := start(t, d, "}", nil)
	r := f.do("POST", "/v2/r/blobs/uploads/", nil)
	f.want(r, 202)
	at := r.Header.Get("Location")
	f.want(f.do("PATCH", at, strings.NewReader("x")), 202)
	names, err := d.List(ctx, "u/", "", 10)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	step, _, err := d.Read(ctx, "u/"+names[0]+"000000001")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Create(ctx, "u/"+names[0]+"000100000", step, driver.Relaxed); err != nil {
		t.Fatal(err)
	}
	f.want(f.do("PATCH", at, strings.NewReader("y")), 400, "BLOB_UPLOAD_INVALID", "larger chunks")
	f.want(f.do("PUT", at+"?digest=sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", strings.NewReader("")), 201)
}
