package filesystem

import (
	"errors"
	"io/fs"
	"os"
)

// moveByLink moves a file in two steps, for file systems that cannot move one without replacing another (NFS). A process
// that dies in between leaves a file with two names, of which the old one must not be written to (stream.detach).
func moveByLink(from, to string) error {
	if err := os.Link(from, to); err != nil && (!errors.Is(err, fs.ErrExist) || !sameFile(from, to)) {
		return err
	}
	if err := os.Remove(from); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sameFile says that two names are one file's: a link whose answer was lost on the way is refused when it is repeated.
func sameFile(a, b string) bool {
	info, err := os.Stat(a)
	return err == nil && hasName(info, b)
}
