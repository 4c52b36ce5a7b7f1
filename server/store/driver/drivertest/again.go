package drivertest

import (
	"errors"
	"io"
	"testing"

	"packregistry.dev/server/store/driver"
)

// This file is the part of the suite that is about streams whose id is used again: a process died before it discarded
// the stream, and its client repeats the request.

// What was committed stays as it is, whatever is written under the stream's id afterwards.
func testStreamAfterCommit(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	const content, key = "the whole content", "b/committed"
	s, err := d.Stream(ctx, "again", nil)
	must(t, err)
	write(t, s, "the whole ")
	state, err := s.Checkpoint(ctx)
	must(t, errors.Join(err, s.Close()))
	s, err = d.Stream(ctx, "again", state)
	must(t, err)
	write(t, s, "content")
	must(t, s.Commit(ctx, key))
	io.WriteString(s, "written after the commit") //nolint:errcheck // refused or without effect
	must(t, s.Close())                            // and no Discard
	wantContent(t, d, key, content)

	for name, state := range map[string][]byte{"from the beginning": nil, "from its checkpoint": state} {
		// Opened, and nothing written; then broken off in the middle; then repeated whole.
		for _, text := range []string{"", "br", content[len(content)-len("content"):], content} {
			s, err := d.Stream(ctx, "again", state)
			if errors.Is(err, driver.ErrNotExist) && state != nil {
				continue
			}
			must(t, err)
			write(t, s, text)
			if text == content {
				if err := s.Commit(ctx, key); err != nil && !errors.Is(err, driver.ErrExist) && !errors.Is(err, driver.ErrNotExist) {
					t.Errorf("%s: committed again: %v", name, err)
				}
			}
			must(t, s.Close())
			wantContent(t, d, key, content)
		}
	}
	must(t, d.Discard(ctx, "again"))
	wantContent(t, d, key, content)
}

// A writer whose stream was discarded meanwhile, and begun anew by another, commits its own bytes or none.
func testStreamWasDiscarded(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	s, err := d.Stream(ctx, "cancelled", nil)
	must(t, err)
	write(t, s, "all of it")
	must(t, d.Discard(ctx, "cancelled"))
	other, err := d.Stream(ctx, "cancelled", nil)
	if !errors.Is(err, driver.ErrBusy) {
		must(t, err)
		write(t, other, "a part of some")
		defer other.Close() //nolint:errcheck // given up
	}
	err = s.Commit(ctx, "b/cancelled")
	if err == nil {
		wantContent(t, d, "b/cancelled", "all of it")
	} else {
		_, statErr := d.Stat(ctx, "b/cancelled")
		wantErr(t, statErr, driver.ErrNotExist)
	}
	must(t, errors.Join(s.Discard(ctx), s.Close()))
}
