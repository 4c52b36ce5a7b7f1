package filesystem

import (
	"context"

	"golang.org/x/sys/unix"

	"packregistry.dev/server/store/driver"
)

var _ driver.Spacer = (*Driver)(nil)

// Space implements driver.Spacer: what an unprivileged process could still write.
func (d *Driver) Space(context.Context) (free, size uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(d.root, &s); err != nil {
		return 0, 0, err
	}
	block := uint64(s.Bsize) //nolint:gosec,unconvert // its type differs by system
	return s.Bavail * block, s.Blocks * block, nil
}
