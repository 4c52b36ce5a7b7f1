// Package watch tells when files have changed, on every kind of file system.
//
// It looks at the files once a second instead of asking the kernel to be told: network volumes never tell, and
// Kubernetes replaces a mounted Secret by swapping a symbolic link several directories up.
package watch

import (
	"context"
	"os"
	"time"
)

// Interval is how often files are looked at.
const Interval = time.Second

// Files calls changed, from one goroutine, each time one of the files has become another one, has other content, or
// comes or goes, until the context ends. What the files are when Files is called counts as known.
func Files(ctx context.Context, interval time.Duration, files []string, changed func()) {
	known := look(files)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := look(files); !same(known, now) {
			known = now
			changed()
		}
	}
}

// look follows links, so that a swapped link shows as another file.
func look(files []string) []os.FileInfo {
	infos := make([]os.FileInfo, len(files))
	for i, f := range files {
		infos[i], _ = os.Stat(f) //nolint:errcheck // absence is a state too
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
