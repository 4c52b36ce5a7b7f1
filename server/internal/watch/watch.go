// Package watch tells when files have changed, on every kind of file system.
//
// It looks at the files once a second instead of asking the kernel for notifications: network volumes send none, and
// Kubernetes replaces a mounted Secret by swapping a symbolic link several directories up.
package watch

import (
	"context"
	"os"
	"time"
)

// Interval is how often files are looked at.
const Interval = time.Second

// Files are some files and how they were when they were last looked at.
type Files struct {
	paths []string
	known []os.FileInfo
}

// New looks at the files for the first time. Call it before reading them: a change in between is then reported too.
func New(paths ...string) *Files {
	return &Files{paths, look(paths)}
}

// Run calls changed each time one of the files has become another one, has other content, or comes or goes, until the
// context ends.
func (f *Files) Run(ctx context.Context, interval time.Duration, changed func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := look(f.paths); !same(f.known, now) {
			f.known = now
			changed()
		}
	}
}

// look follows links, so that a swapped link shows as another file.
func look(paths []string) []os.FileInfo {
	infos := make([]os.FileInfo, len(paths))
	for i, path := range paths {
		infos[i], _ = os.Stat(path) //nolint:errcheck // absence is a state too
	}
	return infos
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		switch {
		case a[i] == nil && b[i] == nil:
		case a[i] == nil || b[i] == nil:
			return false
		case !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size():
			return false
		}
	}
	return true
}
