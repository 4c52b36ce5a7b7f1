package server

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
)

func TestUploads(t *testing.T) {
	for name, d := range map[string]driver.Driver{"inmemory": inmemory.New(), "filesystem": newFilesystem(t)} {
		t.Run(name, func(t *testing.T) { testUploads(t, start(t, d, "}", nil)) })
	}
}

func newFilesystem(t *testing.T) driver.Driver {
	t.Helper()
	d, err := filesystem.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func testUploads(t *testing.T, f *fixture) {
	d := digest.FromString("hello world")
	r := f.do("POST", "/v2/a/b/blobs/uploads/", nil)
	f.want(r, 202)
	at := r.Header.Get("Location")
	if !strings.HasPrefix(at, "/v2/a/b/blobs/uploads/") {
		t.Fatalf("Location %q is not relative to the host", at)
	}
	r = f.do("PATCH", at, strings.NewReader("hello "), "Content-Range", "0-5")
	f.want(r, 202)
	if got := r.Header.Get("Range"); got != "0-5" {
		t.Errorf("Range %q", got)
	}
	f.want(f.do("PATCH", at, strings.NewReader("x"), "Content-Range", "9-9"), 416, "RANGE_INVALID")
	r = f.do("GET", at, nil)
	f.want(r, 204)
	if got := r.Header.Get("Range"); got != "0-5" {
		t.Errorf("status says %q", got)
	}
	f.want(f.do("PUT", at+"?digest=sha256:bad", strings.NewReader("world")), 400, "DIGEST_INVALID")
	f.want(f.do("PUT", at+"?digest="+d.String(), strings.NewReader("world")), 201)
	f.want(f.do("GET", "/v2/a/b/blobs/"+d.String(), nil), 200, "hello world")
	f.want(f.do("GET", "/v2/a/b/blobs/"+d.String(), nil, "Range", "bytes=6-"), 206, "world")
	f.want(f.do("GET", "/v2/a/b/blobs/"+d.String(), nil, "If-None-Match", `"`+d.String()+`"`), 304)
	f.want(f.do("GET", at, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	f.want(f.do("GET", "/v2/a/c/blobs/"+d.String(), nil), 404, "BLOB_UNKNOWN")
	f.want(f.do("POST", "/v2/a/c/blobs/uploads/?from=a/b&mount="+d.String(), nil), 201)
	f.want(f.do("GET", "/v2/a/c/blobs/"+d.String(), nil), 200)
	for _, from := range []string{"a/none", "Up/Case", "..", "a//b", "%20", strings.Repeat("x", 300)} { // an upload instead
		f.want(f.do("POST", "/v2/a/c/blobs/uploads/?from="+from+"&mount="+d.String(), nil), 202)
		f.want(f.do("POST", "/v1/c/blobs/uploads/?from="+from+"&mount="+d.String(), nil), 202)
	}
	f.want(f.do("POST", "/v2/a/b/blobs/uploads/?digest="+digest.FromString("other").String(), strings.NewReader("content")), 400, "DIGEST_INVALID")

	r = f.do("POST", "/v2/a/b/blobs/uploads/", nil)
	f.want(f.do("DELETE", r.Header.Get("Location"), nil), 204)
	f.want(f.do("PATCH", r.Header.Get("Location"), strings.NewReader("x")), 404, "BLOB_UPLOAD_UNKNOWN")
}
