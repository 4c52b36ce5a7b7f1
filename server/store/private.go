package store

import (
	"bytes"
	"context"
	"errors"

	"packregistry.dev/server/store/driver"
)

// ReadPrivate returns what the server keeps for itself under a name, or ErrNotFound.
func (s *Store) ReadPrivate(ctx context.Context, name string) ([]byte, error) {
	data, _, err := s.d.Read(ctx, privateKey(name))
	return data, notFound(err, "private object", name)
}

// WritePrivate keeps something for the server itself. Of several that write at once one is last.
func (s *Store) WritePrivate(ctx context.Context, name string, data []byte) error {
	_, err := s.UpdatePrivate(ctx, name, func([]byte) ([]byte, error) { return append([]byte{}, data...), nil })
	return err
}

// DeletePrivate forgets what the server kept under a name.
func (s *Store) DeletePrivate(ctx context.Context, name string) error {
	return s.d.Delete(ctx, privateKey(name))
}

// Space returns how many bytes of the storage are free, and how many there are; ok is false where nobody knows.
func (s *Store) Space(ctx context.Context) (free, size uint64, ok bool) {
	spacer, ok := driver.As[driver.Spacer](s.d)
	if !ok {
		return 0, 0, false
	}
	free, size, err := spacer.Space(ctx)
	return free, size, err == nil
}

// UpdatePrivate makes what the server keeps under a name of what is there now (nil where there is nothing), and returns it.
// Of several that update at once each sees what the one before made; what stays the same is not written.
func (s *Store) UpdatePrivate(ctx context.Context, name string, update func(now []byte) ([]byte, error)) ([]byte, error) {
	for try := (attempts{}); ; {
		now, version, err := s.d.Read(ctx, privateKey(name))
		if err != nil && !errors.Is(err, driver.ErrNotExist) {
			return nil, err
		}
		next, err := update(now)
		if err != nil || bytes.Equal(next, now) && (version != "" || next == nil) {
			return next, err
		}
		err = s.d.Replace(ctx, privateKey(name), next, version)
		if err == nil || !isLostRace(err) {
			return next, err
		}
		if err := try.again(ctx, s, err); err != nil {
			return nil, err
		}
	}
}
