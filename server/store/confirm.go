package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// This file looks at blob data that was found where some was to be written. Whoever pushed it before may have been
// killed, his disk may have lost it: it counts as stored only where it is what the client has.

// content is what blob data has to be.
type content struct {
	digest digest.Digest
	size   int64
	// doubtful says that nobody holds a copy with which the data could be replaced, so that it is read.
	doubtful bool
}

// confirm looks whether the data at key is that content. What is not is taken out of use, as verification with
// quarantine does, and the answer is ErrTryAgain: the next push goes to a place of its own.
func (s *Store) confirm(ctx context.Context, key string, want content) error {
	err := s.compare(ctx, key, want)
	if errors.Is(err, driver.ErrNotExist) {
		return fmt.Errorf("%w: %w", err, ErrTryAgain) // collected in this moment
	}
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	v := &verifier{s: s}
	if removal := v.quarantineData(context.WithoutCancel(ctx), key); removal != nil {
		return errors.Join(err, removal)
	}
	return fmt.Errorf("%w (it was taken out of use): %w", err, ErrTryAgain)
}

func (s *Store) compare(ctx context.Context, key string, want content) error {
	info, err := s.d.Stat(ctx, key)
	if err != nil {
		return err
	}
	if info.Size != want.size {
		return fmt.Errorf("%s: %w: %d bytes are there, of %d", key, ErrDamaged, info.Size, want.size)
	}
	if err := s.whole(ctx, key); err != nil || !want.doubtful {
		return err
	}
	o, err := s.d.Open(ctx, key)
	if err != nil {
		return err
	}
	defer o.Close() //nolint:errcheck // it is only read
	h, err := newHash(want.digest.Algorithm())
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(h, onlyReader{o}, make([]byte, copyBuffer)); err != nil {
		return err
	}
	if found := digest.NewDigest(want.digest.Algorithm(), h); found != want.digest {
		return fmt.Errorf("%s: %w: the data has the digest %s", key, ErrDamaged, found)
	}
	return nil
}

// whole returns ErrDamaged where an object is there and some of the data that it stands for is not.
func (s *Store) whole(ctx context.Context, key string) error {
	reclaimer, ok := driver.As[driver.Reclaimer](s.d)
	if !ok {
		return nil
	}
	missing, err := reclaimer.Incomplete(ctx, key)
	if err == nil && missing != "" {
		err = fmt.Errorf("%s: %w: %s", key, ErrDamaged, missing)
	}
	return err
}
