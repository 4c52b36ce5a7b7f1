package drivertest

import (
	"bytes"
	"errors"
	"testing"

	"packregistry.dev/server/store/driver"
)

// RunFull says what must hold while a storage takes nothing more: what is refused leaves no trace that could be seen, what
// was there stays, and with room again all goes on. fill leaves less room than a write of 4 MiB needs, or none at all;
// release gives it back.
func RunFull(t *testing.T, d driver.Driver, fill, release func()) {
	ctx := t.Context()
	content := bytes.Repeat([]byte("0123456789abcdef"), 4<<16)
	must(t, d.Create(ctx, "kept", []byte("kept"), driver.Durable))
	_, version, err := d.Read(ctx, "kept")
	must(t, err)
	s, err := d.Stream(ctx, "begun", nil)
	must(t, err)
	write(t, s, "acknowledged ")
	state, err := s.Checkpoint(ctx)
	must(t, errors.Join(err, s.Close()))

	fill()
	if err := d.Create(ctx, "new/one", content, driver.Durable); err == nil {
		t.Fatal("there is room")
	}
	if err := d.Replace(ctx, "kept", content, version); err == nil {
		t.Error("replaced without room")
	}
	stream := func(id string, state []byte) error {
		s, err := d.Stream(ctx, id, state)
		if err != nil {
			return err
		}
		_, err = s.Write(content)
		if err == nil {
			err = s.Commit(ctx, "streamed/"+id)
		}
		return errors.Join(err, s.Close())
	}
	if stream("begun", state) == nil || stream("fresh", nil) == nil {
		t.Error("streamed without room")
	}
	for _, key := range []string{"new/one", "streamed/begun", "streamed/fresh"} {
		_, err := d.Stat(ctx, key)
		wantErr(t, err, driver.ErrNotExist)
		_, err = d.Open(ctx, key)
		wantErr(t, err, driver.ErrNotExist)
	}
	wantContent(t, d, "kept", "kept")
	names, err := d.List(ctx, "streamed/", "", 10)
	must(t, err)
	if len(names) > 0 {
		t.Errorf("half-visible: %v", names)
	}

	release()
	must(t, d.Create(ctx, "new/one", content, driver.Durable))
	must(t, d.Replace(ctx, "kept", []byte("replaced"), version))
	wantContent(t, d, "kept", "replaced")
	must(t, stream("begun", state))
	info, err := d.Stat(ctx, "streamed/begun")
	must(t, err)
	if want := int64(len("acknowledged ") + len(content)); info.Size != want {
		t.Errorf("%d bytes, not %d", info.Size, want)
	}
}
