package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"packregistry.dev/server/store/driver"
)

// This file is the part of the suite that is about streams.

func write(t *testing.T, s driver.Stream, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
}

func testStream(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	s, err := d.Stream(ctx, "id1", nil)
	must(t, err)
	write(t, s, "hello ")
	state, err := s.Checkpoint(ctx)
	must(t, err)
	must(t, s.Close())

	s, err = d.Stream(ctx, "id1", state)
	must(t, err)
	write(t, s, "world")
	r, err := s.Reader(ctx)
	must(t, err)
	text, err := io.ReadAll(r)
	must(t, errors.Join(err, r.Close()))
	if string(text) != "hello world" {
		t.Errorf("so far: %q", text)
	}
	_, err = d.Stat(ctx, "done/it")
	wantErr(t, err, driver.ErrNotExist)
	must(t, errors.Join(s.Commit(ctx, "done/it"), s.Discard(ctx), s.Close()))
	wantContent(t, d, "done/it", "hello world")
}

// What was written after the last checkpoint is not there when another goes on.
func testStreamForgets(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	s, err := d.Stream(ctx, "id2", nil)
	must(t, err)
	write(t, s, "kept")
	state, err := s.Checkpoint(ctx)
	must(t, err)
	write(t, s, "torn off in the middle")
	later, err := s.Checkpoint(ctx)
	must(t, errors.Join(err, s.Close()))
	// One that opens with an outdated state, sees that it is outdated, and writes nothing, does no harm.
	s, err = d.Stream(ctx, "id2", state)
	must(t, errors.Join(err, s.Close()))
	s, err = d.Stream(ctx, "id2", later)
	must(t, errors.Join(err, s.Close()))
	s, err = d.Stream(ctx, "id2", state)
	must(t, err)
	write(t, s, "!")
	must(t, s.Commit(ctx, "k"))
	must(t, s.Close())
	wantContent(t, d, "k", "kept!")
}

// Of two that open one stream either the second is turned away, or each writes for itself and neither harms the other.
func testStreamHasOneWriter(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	s, err := d.Stream(ctx, "id3", nil)
	must(t, err)
	if s.Exclusive() {
		_, err = d.Stream(ctx, "id3", nil)
		wantErr(t, err, driver.ErrBusy)
		must(t, s.Close())
		s, err = d.Stream(ctx, "id3", nil)
		must(t, err)
		must(t, s.Close())
		return
	}
	other, err := d.Stream(ctx, "id3", nil)
	must(t, err)
	write(t, s, "mine")
	write(t, other, "the other's")
	state, err := s.Checkpoint(ctx)
	must(t, err)
	_, err = other.Checkpoint(ctx)
	must(t, errors.Join(err, other.Close(), s.Close()))
	s, err = d.Stream(ctx, "id3", state)
	must(t, err)
	write(t, s, " alone")
	must(t, errors.Join(s.Commit(ctx, "k3"), s.Discard(ctx), s.Close()))
	wantContent(t, d, "k3", "mine alone")
}

// A stream that is committed directly is there after the commit, and nothing is before, whatever its size.
func testStreamAimed(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	for i, content := range []string{"", "small", strings.Repeat("0123456789abcdef", 13<<16)} { // 13 MiB
		id, key := fmt.Sprintf("direct%d", i), fmt.Sprintf("direct/%d", i)
		s, err := d.Stream(ctx, id, nil)
		must(t, err)
		s.CommitDirectly(key)
		write(t, s, content)
		_, err = d.Stat(ctx, key)
		wantErr(t, err, driver.ErrNotExist)
		must(t, errors.Join(s.Commit(ctx, key), s.Discard(ctx), s.Close()))
		wantContent(t, d, key, content)
		info, err := d.Stat(ctx, key)
		must(t, err)
		if info.Size != int64(len(content)) {
			t.Errorf("size %d, want %d", info.Size, len(content))
		}
		// Another that is given up leaves nothing.
		s, err = d.Stream(ctx, id, nil)
		must(t, err)
		s.CommitDirectly(key + "-other")
		write(t, s, content)
		must(t, errors.Join(s.Discard(ctx), s.Close()))
		_, err = d.Stat(ctx, key+"-other")
		wantErr(t, err, driver.ErrNotExist)
	}
}

// Many steps, of all sizes, by as many openings: what a client does that uploads in chunks.
func testStreamSteps(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	var want []byte
	var state []byte
	for i, size := range []int{1, 0, 100, 6 << 20, 3, 1 << 20, 4, 11 << 20, 5} {
		chunk := bytes.Repeat([]byte{byte('a' + i)}, size)
		want = append(want, chunk...)
		s, err := d.Stream(ctx, "steps", state)
		must(t, err)
		_, err = s.Write(chunk)
		must(t, err)
		state, err = s.Checkpoint(ctx)
		must(t, errors.Join(err, s.Close()))
	}
	s, err := d.Stream(ctx, "steps", state)
	must(t, err)
	must(t, errors.Join(s.Commit(ctx, "steps/all"), s.Discard(ctx), s.Close()))
	// The end of the upload as its owner sees it must not take the content along, nor must purging it later.
	must(t, d.Discard(ctx, "steps"))
	o, err := d.Open(ctx, "steps/all")
	must(t, err)
	defer o.Close()
	if o.Info().Size != int64(len(want)) {
		t.Errorf("size %d, want %d", o.Info().Size, len(want))
	}
	got, err := io.ReadAll(o)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes differ from the %d that were written", len(got), len(want))
	}
	for _, at := range []int{0, 1, 101, 6<<20 + 100, 7 << 20, len(want) - 3} {
		part := make([]byte, 1000)
		if _, err := o.Seek(int64(at), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		n, err := io.ReadFull(o, part)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if end := min(at+1000, len(want)); !bytes.Equal(part[:n], want[at:end]) {
			t.Errorf("from %d: %d bytes that differ", at, n)
		}
	}
}

func testStreamCommitHasWinner(t *testing.T, d driver.Driver) {
	ctx := context.Background()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	for i := range 2 {
		s, err := d.Stream(ctx, fmt.Sprintf("w%d", i), nil)
		must(t, err)
		_, err = s.Write(big)
		must(t, err)
		err = s.Commit(ctx, "same/key")
		if i == 0 {
			must(t, err)
		} else {
			wantErr(t, err, driver.ErrExist)
		}
		must(t, errors.Join(s.Discard(ctx), s.Close()))
	}
	wantContent(t, d, "same/key", string(big))
}

func testStreamDiscard(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	must(t, d.Discard(ctx, "never"))
	s, err := d.Stream(ctx, "id4", nil)
	must(t, err)
	write(t, s, "x")
	state, err := s.Checkpoint(ctx)
	must(t, errors.Join(err, s.Close(), d.Discard(ctx, "id4")))
	// Whoever goes on all the same finds out, at the latest when it would be answered that the content is there.
	s, err = d.Stream(ctx, "id4", state)
	if err == nil {
		if _, err = io.WriteString(s, "y"); err == nil {
			err = s.Commit(ctx, "discarded")
		}
		s.Close() //nolint:errcheck // the commit's error is what matters
	}
	wantErr(t, err, driver.ErrNotExist)
	_, err = d.Stat(ctx, "discarded")
	wantErr(t, err, driver.ErrNotExist)
}
