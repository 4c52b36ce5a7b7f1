package filesystem

import (
	"errors"
	"os"
	"syscall"
)

// Files that are opened, by way of the cache: where there are none left it gives its own back.

func (d *Driver) openFile(path string, flags int) (*os.File, error) {
	return yielding(d.cache, func() (*os.File, error) { return os.OpenFile(path, flags, 0o600) })
}

func (d *Driver) createTemp(pattern string) (*os.File, error) {
	return yielding(d.cache, func() (*os.File, error) { return os.CreateTemp(d.path("tmp"), pattern) })
}

func (d *Driver) readWhole(path string) ([]byte, error) {
	return yielding(d.cache, func() ([]byte, error) { return os.ReadFile(path) })
}

// yielding opens something, and once more where the process or the system had no file left.
func yielding[T any](c *cache, open func() (T, error)) (T, error) {
	v, err := open()
	if (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && c.yield() {
		return open()
	}
	return v, err
}
