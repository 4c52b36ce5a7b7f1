package filesystem

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"

	"packregistry.dev/server/store/driver"
)

// This file keeps some room of the volume back for what makes room: a collection writes marks before it removes anything, and
// on a volume that is full to the last byte it could not. The room is a file of real blocks, that all processes of the store
// share. It is given back in pieces, since what is given is anybody's: uploads may take it before the collection does.

const (
	reserveName = "reserve"
	// maxReserve bounds the room that is kept, as does reserveShare, of the volume. A mark takes one block.
	maxReserve   = 1 << 20
	reserveShare = 64
	// reservePiece is how much is given back at once.
	reservePiece = 64 << 10
)

// reserve is the room that is kept back.
type reserve struct {
	// short says that some of it was given back, or never there.
	short atomic.Bool
}

// isFull says that an error is for lack of space.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// withReserve writes, and where the volume is full gives back some of what is kept, if the write is of those that may use it, and
// writes again.
func (d *Driver) withReserve(ctx context.Context, write func() error) error {
	err := write()
	for isFull(err) && driver.MayUseReserve(ctx) && d.giveReserve(ctx) {
		err = write()
	}
	return err
}

// giveReserve gives a piece of the reserve back, and says whether there was one.
func (d *Driver) giveReserve(ctx context.Context) bool {
	f, err := d.openFile(d.path(reserveName), os.O_RDWR)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // it holds nothing
	if err := flock(ctx, f); err != nil {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	d.reserve.short.Store(true)
	return f.Truncate(max(0, info.Size()-reservePiece)) == nil
}

// fillReserve takes the room that is to be kept, or what is missing of it, where there is much more than that. That there is
// none is no error: it is tried again.
func (d *Driver) fillReserve(ctx context.Context) error {
	free, size, err := d.Space(ctx)
	if err != nil {
		return err
	}
	target := int64(min(size/reserveShare, maxReserve)) //nolint:gosec // at most maxReserve
	if info, err := os.Stat(d.path(reserveName)); err == nil && info.Size() >= target {
		d.reserve.short.Store(false)
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.reserve.short.Store(true)
	if free < 4*uint64(target) { //nolint:gosec // not negative
		return nil
	}
	f, err := d.openFile(d.path(reserveName), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return ignoreFull(err)
	}
	defer f.Close() //nolint:errcheck // it holds nothing
	if err := flock(ctx, f); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	piece, before := make([]byte, reservePiece), info.Size()
	for at := before; at < target; at += int64(len(piece)) {
		rand.Read(piece) //nolint:errcheck // never fails; file systems that compress would keep no room for zeros
		if _, err := f.WriteAt(piece[:min(int64(len(piece)), target-at)], at); err != nil {
			f.Truncate(at) //nolint:errcheck // a hole keeps no room, but does no harm
			return ignoreFull(err)
		}
	}
	if err := d.sync(f); err != nil { // only then file systems that allocate late have allocated it
		f.Truncate(before) //nolint:errcheck // a file of full size would count as filled
		return ignoreFull(err)
	}
	d.reserve.short.Store(false)
	return nil
}

func ignoreFull(err error) error {
	if isFull(err) {
		return nil
	}
	return err
}
