package driver

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sync/errgroup"
)

// readsAtOnce is how many objects ListVersions reads at once.
const readsAtOnce = 8

// ListVersions lists objects with their versions: up to limit entries after the given name, in byte order, and the name to go on
// after, which is empty where these were the last ones. Where the driver's lists have no versions the objects are read.
func ListVersions(ctx context.Context, d Driver, prefix, after string, limit int) (entries []Entry, more string, err error) {
	if lister, ok := As[VersionLister](d); ok {
		entries, err = lister.ListVersions(ctx, prefix, after, limit)
		if err == nil && limit > 0 && len(entries) == limit {
			more = entries[limit-1].Name
		}
		return entries, more, err
	}
	names, err := d.List(ctx, prefix, after, limit)
	if err != nil {
		return nil, "", err
	}
	if limit > 0 && len(names) == limit {
		more = names[limit-1]
	}
	read := make([]Entry, len(names))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for i, name := range names {
		if strings.HasSuffix(name, "/") {
			continue
		}
		group.Go(func() error {
			_, version, err := d.Read(groupCtx, prefix+name)
			if err == nil {
				read[i] = Entry{name, version}
			}
			if errors.Is(err, ErrNotExist) { // it went meanwhile
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, "", err
	}
	for _, e := range read {
		if e.Name != "" {
			entries = append(entries, e)
		}
	}
	return entries, more, nil
}
