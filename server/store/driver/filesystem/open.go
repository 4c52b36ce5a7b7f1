package filesystem

import "os"

func (d *Driver) openFile(path string, flags int) (*os.File, error) {
	return os.OpenFile(path, flags, 0o600)
}

func (d *Driver) createTemp(pattern string) (*os.File, error) {
	return os.CreateTemp(d.path("tmp"), pattern)
}
