package ui_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"packregistry.dev/server/ui"
)

// crowded is a registry whose large files cannot be read just now.
type crowded struct{ memory }

func (c crowded) Pack(name string) ui.Pack { return crowdedPack{c.memory.Pack(name)} }

type crowdedPack struct{ ui.Pack }

func (crowdedPack) Read(_ context.Context, _ ui.Version, _ int64, names ...string) (map[string][]byte, error) {
	if len(names) == 1 && names[0] == "pack.json" {
		return nil, nil
	}
	return nil, ui.ErrTooLarge
}

func (crowdedPack) Copy(context.Context, ui.Version, string, io.Writer) error {
	return errors.New("too many such requests")
}

// A file that cannot be sent is answered by a page, and not by a download of one.
func TestAFileThatCannotBeSent(t *testing.T) {
	h := newHandler(t, someone{}, crowded{memory{"gauge": {"1.0.0": {"pack.json": "{}", "charts/gauge.tgz": "x"}}}})
	w := get(h, "/below/ui/packs/gauge/1.0.0/files/charts/gauge.tgz?raw=1")
	if w.Code != http.StatusInternalServerError {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	for _, header := range []string{"Content-Disposition", "Etag"} {
		if value := w.Header().Get(header); value != "" {
			t.Errorf("%s: %s", header, value)
		}
	}
	if policy := w.Header().Get("Content-Security-Policy"); policy == "" || policy != get(h, "/below/ui/packs/gauge/1.0.0").Header().Get("Content-Security-Policy") {
		t.Errorf("the policy is %q, not that of pages", policy)
	}
}
