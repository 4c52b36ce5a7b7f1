package store

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
)

// RecordPack records that the archive of a manifest that is there already was validated, and as what. It returns
// ErrNotFound where the manifest, or one of the files, went meanwhile.
func (r *Repository) RecordPack(ctx context.Context, d digest.Digest, pack string, files []File) error {
	for try := (attempts{}); ; {
		m, err := r.Manifest(ctx, d)
		if err != nil {
			return err
		}
		if m.Pack != pack {
			h := m.header
			h.Pack, h.Files, h.Nonce = pack, files, nonce()
			if err := r.replaceHeader(ctx, m, h); isLostRace(err) {
				if err := try.again(ctx, r.s, err); err != nil {
					return err
				}
				continue
			} else if err != nil {
				return err
			}
		}
		// Now that the manifest names them a collector finds them; one that had looked before is overruled here.
		var gone error
		for _, file := range files {
			switch _, err := r.promise(ctx, file.Digest); {
			case errors.Is(err, ErrNotFound):
				gone = err
			case err != nil:
				return err // and not together with "not found", which would hide it
			}
		}
		return gone
	}
}
