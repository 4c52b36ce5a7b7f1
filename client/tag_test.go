package client_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"packregistry.dev/client"
)

func TestTagsAndDeletion(t *testing.T) {
	t.Parallel()
	s := newRegistry(t)
	c := connect(t, s)
	d, _ := openPack(t, nil)
	first, err := c.Push(t.Context(), d, client.Push{})
	if err != nil {
		t.Fatal(err)
	}
	changed, _ := openPack(t, map[string]string{"README.md": "changed"})
	second, err := c.Push(t.Context(), changed, client.Push{Force: true, Message: "better words"})
	if err != nil {
		t.Fatal(err)
	}
	tags := func() []string {
		list, err := c.List(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(list[0].Tags, func(tag string) bool { return strings.HasSuffix(tag, ".x") })
	}
	for range 2 { // the second time changes nothing
		if got, err := c.Tag(t.Context(), "demo", first.Digest.String(), "stable", false); err != nil || got != first.Digest {
			t.Errorf("%s, %v", got, err)
		}
	}
	if _, err := c.Tag(t.Context(), "demo", "1.0.0", "stable", false); err == nil || !strings.Contains(err.Error(), "--force moves it") {
		t.Errorf("moved: %v", err)
	}
	if got, err := c.Tag(t.Context(), "demo", "1.0.0", "stable", true); err != nil || got != second.Digest {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := c.Tag(t.Context(), "demo", "1.0.0", "1.x", false); err == nil || !strings.Contains(err.Error(), "parent tag") {
		t.Errorf("a computed tag: %v", err)
	}
	if got := tags(); !slices.Equal(got, []string{"1.0.0", "stable"}) {
		t.Errorf("%v", got)
	}
	if err := c.Untag(t.Context(), "demo", "stable"); err != nil {
		t.Error(err)
	}
	if err := c.Untag(t.Context(), "demo", "stable"); err == nil || !strings.Contains(err.Error(), "there is no demo:stable") {
		t.Errorf("%v", err)
	}
	if got := tags(); !slices.Equal(got, []string{"1.0.0"}) {
		t.Errorf("%v", got)
	}
	if _, err := c.Tag(t.Context(), "demo", second.Digest.String(), "newest", false); err != nil {
		t.Error(err)
	}
	if got, err := c.Delete(t.Context(), "demo", "newest"); err != nil || got != second.Digest {
		t.Errorf("%s, %v", got, err)
	}
	for _, reference := range []string{"1.0.0", "newest", second.Digest.String()} {
		if _, err := c.Delete(t.Context(), "demo", reference); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("%s: %v", reference, err)
		}
	}
	if _, err := c.Pull(t.Context(), "demo", first.Digest.String(), t.TempDir()); err != nil {
		t.Errorf("the other version: %v", err)
	}
}

func TestUntagSaysWhyNot(t *testing.T) {
	t.Parallel()
	s := newRegistry(t, func(h *httptest.Server) {
		h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusMethodNotAllowed)
			w.Write([]byte(`{"errors":[{"code":"UNSUPPORTED","message":"deleting is turned off"}]}`)) //nolint:errcheck // a test
		})
	})
	if err := connect(t, s).Untag(t.Context(), "demo", "stable"); err == nil || !strings.Contains(err.Error(), "deleting is turned off") {
		t.Errorf("%v", err)
	}
}
