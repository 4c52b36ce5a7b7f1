// Package drivertest is the suite that every storage driver passes: what package driver promises, seen from outside.
package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"packregistry.dev/server/store/driver"
)

// Run runs the suite. open returns an empty store.
func Run(t *testing.T, open func(t *testing.T) driver.Driver) {
	for name, test := range map[string]func(*testing.T, driver.Driver){
		"Create":                testCreate,
		"CreateHasOneWinner":    testCreateHasOneWinner,
		"Replace":               testReplace,
		"ReplaceLosesNoWrite":   testReplaceLosesNoWrite,
		"Delete":                testDelete,
		"DeleteUnchanged":       testDeleteUnchanged,
		"Open":                  testOpen,
		"List":                  testList,
		"ListOfMany":            testListOfMany,
		"ListVersions":          testListVersions,
		"HostileKeys":           testHostileKeys,
		"Readers":               testReaders,
		"Stream":                testStream,
		"StreamForgets":         testStreamForgets,
		"StreamHasOneWriter":    testStreamHasOneWriter,
		"StreamAimed":           testStreamAimed,
		"StreamSteps":           testStreamSteps,
		"StreamCommitHasWinner": testStreamCommitHasWinner,
		"StreamDiscard":         testStreamDiscard,
		"StreamAfterCommit":     testStreamAfterCommit,
		"StreamWasDiscarded":    testStreamWasDiscarded,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func wantContent(t *testing.T, d driver.Driver, key, want string) {
	t.Helper()
	data, _, err := d.Read(t.Context(), key)
	must(t, err)
	if string(data) != want {
		t.Errorf("%s holds %q, want %q", key, data, want)
	}
}

func testCreate(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	_, _, err := d.Read(ctx, "a/b/c")
	wantErr(t, err, driver.ErrNotExist)
	_, err = d.Stat(ctx, "a/b/c")
	wantErr(t, err, driver.ErrNotExist)
	data := []byte("one")
	must(t, d.Create(ctx, "a/b/c", data, driver.Durable))
	data[0] = 'X' // the caller's slice stays the caller's
	wantContent(t, d, "a/b/c", "one")
	wantErr(t, d.Create(ctx, "a/b/c", []byte("two"), driver.Relaxed), driver.ErrExist)
	wantContent(t, d, "a/b/c", "one")
	must(t, d.Create(ctx, "a/b/empty", nil, driver.Relaxed))
	info, err := d.Stat(ctx, "a/b/empty")
	must(t, err)
	if info.Size != 0 {
		t.Errorf("size %d of an empty object", info.Size)
	}
	// A name that only stands for others is no object.
	_, err = d.Stat(ctx, "a/b")
	wantErr(t, err, driver.ErrNotExist)
	_, err = d.Open(ctx, "a/b")
	wantErr(t, err, driver.ErrNotExist)
	_, _, err = d.Read(ctx, "a/b")
	wantErr(t, err, driver.ErrNotExist)
	_, err = d.Stat(ctx, "a/b/c/below")
	wantErr(t, err, driver.ErrNotExist)
}

func testCreateHasOneWinner(t *testing.T, d driver.Driver) {
	const writers = 8
	var group sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		group.Go(func() { errs[i] = d.Create(t.Context(), "x/y", fmt.Append(nil, i), driver.Durable) })
	}
	group.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Errorf("%d and %d both won", winner, i)
		case err == nil:
			winner = i
		default:
			wantErr(t, err, driver.ErrExist)
		}
	}
	wantContent(t, d, "x/y", fmt.Sprint(winner))
}

func testReplace(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	wantErr(t, d.Replace(ctx, "k", []byte("x"), "some version"), driver.ErrNotExist)
	must(t, d.Replace(ctx, "k", []byte("one"), ""))
	wantErr(t, d.Replace(ctx, "k", []byte("two"), ""), driver.ErrChanged)
	_, first, err := d.Read(ctx, "k")
	must(t, err)
	must(t, d.Replace(ctx, "k", []byte("two"), first))
	wantErr(t, d.Replace(ctx, "k", []byte("three"), first), driver.ErrChanged)
	wantContent(t, d, "k", "two")
}

// Every word that was acknowledged is in the list. (Whoever loses an answer may find its word there already.)
func testReplaceLosesNoWrite(t *testing.T, d driver.Driver) {
	const writers, each = 4, 25
	ctx := t.Context()
	must(t, d.Create(ctx, "list", nil, driver.Durable))
	add := func(word string) error {
		for {
			data, version, err := d.Read(ctx, "list")
			if err != nil || slices.Contains(strings.Fields(string(data)), word) {
				return err
			}
			err = d.Replace(ctx, "list", append(data, word+" "...), version)
			if !errors.Is(err, driver.ErrChanged) {
				return err
			}
		}
	}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if err := add(fmt.Sprintf("%d-%d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	data, _, err := d.Read(ctx, "list")
	must(t, err)
	words := strings.Fields(string(data))
	slices.Sort(words)
	if n := len(words); n != writers*each || len(slices.Compact(words)) != n {
		t.Errorf("%d words, %d of them different; want %d", n, len(slices.Compact(words)), writers*each)
	}
}

func testDelete(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	must(t, d.Delete(ctx, "never/was"))
	must(t, d.Create(ctx, "was", []byte("x"), driver.Durable))
	must(t, d.Delete(ctx, "was"))
	_, err := d.Stat(ctx, "was")
	wantErr(t, err, driver.ErrNotExist)
	must(t, d.Create(ctx, "was", []byte("again"), driver.Durable))
	wantContent(t, d, "was", "again")
}

// Of one that replaces an object and one that deletes it, both on the condition that it is as they saw it, one wins.
func testDeleteUnchanged(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	must(t, d.Create(ctx, "k", []byte("one"), driver.Durable))
	_, first, err := d.Read(ctx, "k")
	must(t, err)
	must(t, d.Replace(ctx, "k", []byte("two"), first))
	if err := d.DeleteUnchanged(ctx, "k", first); !errors.Is(err, driver.ErrChanged) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("deleted what was changed: %v", err)
	}
	wantContent(t, d, "k", "two")
	for i := range 20 {
		key := fmt.Sprintf("race/%d", i)
		must(t, d.Create(ctx, key, []byte("one"), driver.Durable))
		_, version, err := d.Read(ctx, key)
		must(t, err)
		var replaced, deleted error
		var group sync.WaitGroup
		group.Go(func() { replaced = d.Replace(ctx, key, []byte("two"), version) })
		group.Go(func() { deleted = d.DeleteUnchanged(ctx, key, version) })
		group.Wait()
		_, err = d.Stat(ctx, key)
		switch {
		case errors.Is(deleted, errors.ErrUnsupported):
			must(t, errors.Join(replaced, err))
		case replaced == nil:
			must(t, err)
			wantErr(t, deleted, driver.ErrChanged)
		default:
			must(t, deleted)
			wantErr(t, replaced, driver.ErrNotExist)
			wantErr(t, err, driver.ErrNotExist)
		}
	}
}

func testOpen(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	_, err := d.Open(ctx, "none")
	wantErr(t, err, driver.ErrNotExist)
	must(t, d.Create(ctx, "digits", []byte("0123456789"), driver.Durable))
	o, err := d.Open(ctx, "digits")
	must(t, err)
	defer o.Close()
	if o.Info().Size != 10 {
		t.Errorf("size %d", o.Info().Size)
	}
	if _, err := o.Seek(4, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(o)
	must(t, err)
	if string(rest) != "456789" {
		t.Errorf("from 4: %q", rest)
	}
	// From the end, as the size is asked for, and back.
	if end, err := o.Seek(-3, io.SeekEnd); err != nil || end != 7 {
		t.Errorf("three before the end: %d, %v", end, err)
	}
	if rest, err := io.ReadAll(o); err != nil || string(rest) != "789" {
		t.Errorf("three before the end: %q, %v", rest, err)
	}
	if _, err := o.Seek(-1, io.SeekStart); err == nil {
		t.Error("sought before the beginning")
	}
	// What is open can be read to its end, whatever becomes of the name.
	if _, err := o.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1)
	_, err = io.ReadFull(o, first)
	must(t, err)
	must(t, d.Delete(ctx, "digits"))
	if rest, err := io.ReadAll(o); err != nil || string(first)+string(rest) != "0123456789" {
		t.Errorf("after its deletion: %q%q, %v", first, rest, err)
	}
}

func testList(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	names, err := d.List(ctx, "l/", "", 10)
	must(t, err)
	if len(names) != 0 {
		t.Errorf("of nothing: %v", names)
	}
	for _, key := range []string{"l/b", "l/a!", "l/a-", "l/a.", "l/a/x", "l/a/y", "l/a0", "l/B", "other"} {
		must(t, d.Create(ctx, key, nil, driver.Relaxed))
	}
	all := []string{"B", "a!", "a-", "a.", "a/", "a0", "b"}
	names, err = d.List(ctx, "l/", "", 100)
	must(t, err)
	if !slices.Equal(names, all) {
		t.Errorf("all: %v, want %v", names, all)
	}
	// Page by page, of every size, each begun where the last ended.
	for size := 1; size <= len(all)+1; size++ {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := d.List(ctx, "l/", after, size)
			must(t, err)
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		if !slices.Equal(got, all) {
			t.Errorf("by %d: %v", size, got)
		}
	}
	names, err = d.List(ctx, "l/", "a", 2)
	must(t, err)
	if !slices.Equal(names, []string{"a!", "a-"}) {
		t.Errorf("after a name that is none: %v", names)
	}
	names, err = d.List(ctx, "l/", "", 0)
	must(t, err)
	if len(names) != 0 {
		t.Errorf("a page of none: %v", names)
	}
}

// Names enough that no driver gets them in one answer of its storage, in pages of a size that divides nothing.
func testListOfMany(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	const count, size = 2500, 999
	var group sync.WaitGroup
	for w := range 10 {
		group.Go(func() {
			for i := w; i < count; i += 10 {
				key := fmt.Sprintf("l/%05d", i)
				if i%5 == 0 {
					key += "/below"
				}
				if err := d.Create(ctx, key, nil, driver.Relaxed); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	n := 0
	for after := ""; ; {
		page, err := d.List(ctx, "l/", after, size)
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, name := range page {
			want := fmt.Sprintf("%05d", n)
			if n%5 == 0 {
				want += "/"
			}
			if name != want {
				t.Fatalf("name %d is %q, not %q", n, name, want)
			}
			n++
		}
		after = page[len(page)-1]
	}
	if n != count {
		t.Errorf("%d names, not %d", n, count)
	}
}

// Objects are readers and seekers as the standard library's own test asks, whatever pieces they are read and written in.
func testReaders(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	content := []byte("the content of an object, read byte by byte, from here and from there")
	s, err := d.Stream(ctx, "pieces", nil)
	must(t, err)
	if _, err := io.Copy(struct{ io.Writer }{s}, iotest.DataErrReader(iotest.OneByteReader(bytes.NewReader(content)))); err != nil {
		t.Fatal(err)
	}
	must(t, errors.Join(s.Commit(ctx, "o/streamed"), s.Discard(ctx), s.Close()))
	must(t, d.Create(ctx, "o/created", content, driver.Durable))
	for _, key := range []string{"o/streamed", "o/created"} {
		o, err := d.Open(ctx, key)
		must(t, err)
		if err := iotest.TestReader(o, content); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		must(t, o.Close())
	}
	// A source that breaks off leaves nothing under the key.
	s, err = d.Stream(ctx, "broken", nil)
	must(t, err)
	_, err = io.Copy(struct{ io.Writer }{s}, iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(content))))
	wantErr(t, err, iotest.ErrTimeout)
	must(t, errors.Join(s.Discard(ctx), s.Close()))
	_, err = d.Stat(ctx, "o/broken")
	wantErr(t, err, driver.ErrNotExist)
}

func testHostileKeys(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	for _, key := range []string{"", "/", "..", "a/../../b", "a//b", "/etc/passwd", "a/./b", "a/", "nul\x00", strings.Repeat("x/", 600) + "x"} {
		wantErr(t, d.Create(ctx, key, nil, driver.Durable), driver.ErrInvalidKey)
		wantErr(t, d.Delete(ctx, key), driver.ErrInvalidKey)
		_, err := d.Open(ctx, key)
		wantErr(t, err, driver.ErrInvalidKey)
		_, _, err = d.Read(ctx, key)
		wantErr(t, err, driver.ErrInvalidKey)
	}
	for _, prefix := range []string{"a", "../", "/", "a//"} {
		_, err := d.List(ctx, prefix, "", 1)
		wantErr(t, err, driver.ErrInvalidKey)
	}
}
