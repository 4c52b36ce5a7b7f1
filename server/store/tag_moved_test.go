package store

import "testing"

// Who read a tag before it was moved and its manifest after that was deleted finds what the tag names now.
func TestATagThatMovesWhileItIsRead(t *testing.T) {
	forEachPromise(t, func(t *testing.T, h *hooked, s, others *Store) {
		ctx, r := t.Context(), others.Repository("r")
		for name, use := range map[string]func() error{
			"get":  func() error { _, err := s.Repository("r").Tagged(ctx, "tag"); return err },
			"head": func() error { _, err := s.Repository("r").TaggedHead(ctx, "tag"); return err },
			// There was a tag at every moment, so one is deleted.
			"delete": func() error { return s.Repository("r").DeleteTag(ctx, "tag") },
		} {
			before, after := pushImage(t, r, "tag", "before "+name), pushImage(t, r, "", "after "+name)
			h.after["read /t/tag"] = func() error {
				must(t, r.Tag(ctx, "tag", after, "", true))
				return r.DeleteManifest(ctx, before)
			}
			if err := use(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
