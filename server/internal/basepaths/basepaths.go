// Package basepaths gives the repositories of packs more names. Consoles ask for packs of an OCI registry below a base path:
// with the base path prod, prod/spectro-packs/archive/p is another name of spectro-packs/archive/p, not a copy. Names are mapped
// once, where a request is read; rights, audit and the store go by the repository's own name alone.
package basepaths

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"packregistry.dev/pack"
)

// Paths are the base paths of a registry. The zero value has none.
type Paths struct {
	// archives are what names of packs begin with, in order: <base>/spectro-packs/archive/. No base path has spectro-packs
	// among its components (package config refuses it), so no name begins with two of them.
	archives []string
}

// New makes them of a valid configuration.
func New(bases []string) Paths {
	var p Paths
	for _, base := range bases {
		p.archives = append(p.archives, base+"/"+pack.ArchivePrefix)
	}
	slices.Sort(p.archives)
	return p
}

// Repository returns the repository's own name for any of its names.
func (p Paths) Repository(name string) string {
	for _, archive := range p.archives {
		// Clients may push to the archive's own repository too, to make it.
		if strings.HasPrefix(name, archive) || name == archive[:len(archive)-1] {
			return name[len(archive)-len(pack.ArchivePrefix):]
		}
	}
	return name
}

// Reserved returns the base path that a repository's own name lies below, if it does. Nothing can be pushed there: it would
// keep the registry from starting again.
func (p Paths) Reserved(repository string) (base string, ok bool) {
	for _, archive := range p.archives {
		base = strings.TrimSuffix(archive, pack.ArchivePrefix)
		if strings.HasPrefix(repository, base) {
			return strings.TrimSuffix(base, "/"), true
		}
	}
	return "", false
}

// List returns up to limit names of repositories that begin with prefix and come after one, in order.
type List func(ctx context.Context, prefix, after string, limit int) ([]string, error)

// All makes a list of all names of the repositories that a list has: their own, and those below base paths. For a page it reads
// a page of the list, and of packs where the page comes to a base path.
func (p Paths) All(own List) List {
	return func(ctx context.Context, prefix, after string, limit int) ([]string, error) {
		names, err := own(ctx, prefix, after, limit)
		if err != nil || prefix != "" {
			return names, err
		}
		for _, archive := range p.archives {
			if len(names) >= limit && names[len(names)-1] < archive {
				break // and those that follow come later still
			}
			from, below := strings.CutPrefix(after, archive)
			switch {
			case below:
				from = pack.ArchivePrefix + from
			case after > archive:
				continue
			default:
				from = ""
			}
			packs, err := own(ctx, pack.ArchivePrefix, from, limit)
			if err != nil {
				return nil, err
			}
			base := strings.TrimSuffix(archive, pack.ArchivePrefix)
			for _, name := range packs {
				names = append(names, base+name)
			}
			slices.Sort(names)
			names = slices.Compact(names)
			names = names[:min(len(names), limit)]
		}
		return names, nil
	}
}

// Check refuses base paths with repositories of their own: they could not be reached.
func (p Paths) Check(ctx context.Context, own List) error {
	for _, archive := range p.archives {
		base := strings.TrimSuffix(archive, pack.ArchivePrefix)
		names, err := own(ctx, base, "", 1)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return fmt.Errorf("packs.basepaths: %s is in use: the repository %s lies below it; take the base path out of the configuration, "+
				"or copy what lies below it to other names and delete it there", strings.TrimSuffix(base, "/"), names[0])
		}
	}
	return nil
}
