package health

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"packregistry.dev/server/store"
)

// A storage that is full breaks in the middle of things: uploads fail after gigabytes, and nothing can even be deleted.
// So pushes are refused while there is still some room.

// Unless the configuration says how much is to be left free, it is this share of the volume, and no more than that many
// bytes.
const (
	reservedShare = 20 // a twentieth
	maxReserved   = 256 << 20
)

// Space keeps room in a storage.
type Space struct {
	Store *store.Store
	// MinFree is how much is left free, or zero.
	MinFree uint64
	Log     *slog.Logger
	// full notes the last answer, so that each change is logged once.
	full atomic.Bool
}

// reserve is how much of a volume is left free.
func (s *Space) reserve(size uint64) uint64 {
	if s.MinFree > 0 {
		return s.MinFree
	}
	return min(size/reservedShare, maxReserved)
}

// FullError says why a storage takes no more.
type FullError string

func (e FullError) Error() string { return string(e) }

// Check returns a FullError where incoming bytes may not be added. A storage that does not know how full it is takes everything.
func (s *Space) Check(ctx context.Context, incoming int64) error {
	free, size, ok := s.Store.Space(ctx)
	if !ok {
		return nil
	}
	reserve := s.reserve(size)
	full := free < reserve
	if s.full.Swap(full) != full {
		if full {
			s.Log.Error("the storage is nearly full: pushes are refused until there is more room; deleting works", "free", free, "reserved", reserve)
		} else {
			s.Log.Info("the storage has room again", "free", free)
		}
	}
	switch {
	case full:
		return FullError(fmt.Sprintf("the registry's storage is nearly full (%d MiB free, %d MiB are kept in reserve); it takes no pushes until there is more room", free>>20, reserve>>20))
	case uint64(incoming) > free-reserve: //nolint:gosec // not negative
		return FullError(fmt.Sprintf("%d MiB do not fit into the registry's storage, which has room for %d MiB", incoming>>20, (free-reserve)>>20))
	}
	return nil
}
