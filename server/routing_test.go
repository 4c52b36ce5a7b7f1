package server

import (
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
)

func TestRouting(t *testing.T) {
	for _, tt := range []struct{ method, path, pattern, name, param string }{
		{"GET", "/v2/a/b/c/manifests/t", "/{api}/{name}/manifests/{reference}", "a/b/c", "t"},
		{"HEAD", "/v2/blobs/blobs/sha256:x", "/{api}/{name}/blobs/{digest}", "blobs", "sha256:x"},
		{"GET", "/v2/blobs/uploads/manifests/tags/list", "/{api}/{name}/tags/list", "blobs/uploads/manifests", ""},
		{"POST", "/v1/a/blobs/uploads/", "/{api}/{name}/blobs/uploads/", "a", ""},
		{"PUT", "/v1/a/blobs/uploads/abc", "/{api}/{name}/blobs/uploads/{id}", "a", "abc"},
		{"GET", "/v2//manifests/t", "", "", ""},
		{"GET", "/v2/a/manifests/", "", "", ""},
		{"GET", "/v2/manifests/t", "", "", ""},
		{"GET", "/", "", "", ""},
	} {
		row, _, name, param, _ := match(tt.method, tt.path)
		pattern := ""
		if row != nil {
			pattern = row.pattern
		}
		if pattern != tt.pattern || name != tt.name || param != tt.param {
			t.Errorf("%s %s: %q %q %q", tt.method, tt.path, pattern, name, param)
		}
	}
}

func FuzzPaths(f *testing.F) {
	f.Add("GET", "/v2/a/manifests/t")
	f.Add("GET", "/v1/../../x/blobs/sha256:y")
	f.Fuzz(func(t *testing.T, method, path string) {
		testfuzz.Proportionate(t, len(path), func() { match(method, path) })
		row, api, name, param, _ := match(method, path)
		if row == nil {
			return
		}
		// What was taken out of the path fits back into it.
		want := strings.NewReplacer("{api}", api, "{name}", name, "{reference}", param, "{digest}", param, "{id}", param).Replace(row.pattern)
		if path != want && path+"/" != want || strings.Contains(param, "/") {
			t.Errorf("%s is read as %s", path, want)
		}
	})
}
