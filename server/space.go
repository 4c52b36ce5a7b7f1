package server

import (
	"context"
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

type space struct {
	store   *store.Store
	minFree uint64
	log     *slog.Logger
	// full notes the last answer, so that each change is logged once.
	full atomic.Bool
}

// reserve is how much of a volume is left free.
func (s *space) reserve(size uint64) uint64 {
	if s.minFree > 0 {
		return s.minFree
	}
	return min(size/reservedShare, maxReserved)
}

// check says whether incoming bytes may be added. A storage that does not know how full it is takes everything.
func (s *space) check(ctx context.Context, incoming int64) error {
	free, size, ok := s.store.Space(ctx)
	if !ok {
		return nil
	}
	reserve := s.reserve(size)
	full := free < reserve
	if s.full.Swap(full) != full {
		if full {
			s.log.Error("the storage is nearly full: pushes are refused until there is more room; deleting works", "free", free, "reserved", reserve)
		} else {
			s.log.Info("the storage has room again", "free", free)
		}
	}
	switch {
	case full:
		return fail(codeNoSpace, "the registry's storage is nearly full (%d MiB free, %d MiB are kept in reserve); it takes no pushes until there is more room", free>>20, reserve>>20)
	case uint64(incoming) > free-reserve: //nolint:gosec // not negative
		return fail(codeNoSpace, "%d MiB do not fit into the registry's storage, which has room for %d MiB", incoming>>20, (free-reserve)>>20)
	}
	return nil
}
