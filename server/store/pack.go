package store

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"
)

// RecordPack records that the archive of a manifest that is there already was validated, as what, and with which files. It returns
// ErrNotFound where the manifest, or one of the files, went meanwhile.
func (r *Repository) RecordPack(ctx context.Context, d digest.Digest, pack string, files []File) error {
	err := r.changeHeader(ctx, d, func(h *header) bool {
		changed := h.Pack != pack || !slices.Equal(h.Files, files)
		h.Pack, h.Files = pack, files
		return changed
	})
	if err != nil {
		return err
	}
	return r.keepFiles(ctx, files)
}

// changeHeader replaces the header of a manifest where change says that it changed it, as often as another was quicker.
func (r *Repository) changeHeader(ctx context.Context, d digest.Digest, change func(*header) bool) error {
	for try := (attempts{}); ; {
		m, err := r.Manifest(ctx, d)
		if err != nil {
			return err
		}
		h := m.header
		if !change(&h) {
			return nil
		}
		h.Nonce = nonce()
		if err = r.replaceHeader(ctx, m, h); !isLostRace(err) {
			return err
		}
		if err := try.again(ctx, r.s, err); err != nil {
			return err
		}
	}
}

// keepFiles makes files stay, now that the record of their manifest names them: a collector finds them, and one that had looked
// before is overruled here.
func (r *Repository) keepFiles(ctx context.Context, files []File) error {
	var gone error
	for _, file := range files {
		switch _, err := r.retain(ctx, file.Digest); {
		case errors.Is(err, ErrNotFound):
			gone = err
		case err != nil:
			return err // and not together with "not found", which would hide it
		}
	}
	return gone
}

// RecordFile adds a blob of the repository to the files of a manifest, in place of one of that name. It returns ErrNotFound
// where either went meanwhile.
func (r *Repository) RecordFile(ctx context.Context, d digest.Digest, file File) error {
	err := r.changeHeader(ctx, d, func(h *header) bool {
		if slices.Contains(h.Files, file) {
			return false
		}
		h.Files = append(slices.DeleteFunc(slices.Clone(h.Files), func(f File) bool { return f.Name == file.Name }), file)
		return true
	})
	if err != nil {
		return err
	}
	return r.keepFiles(ctx, []File{file})
}
