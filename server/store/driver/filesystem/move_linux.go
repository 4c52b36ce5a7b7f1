package filesystem

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// moveNew moves a file to a name that is free, in one step where the file system has it.
func moveNew(from, to string) error {
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) { // FUSE and NFS can be interrupted
		err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) {
		return moveByLink(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
