package store

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"
)

// This file looks at names as the storage lists them. Not all are ours: file systems rename files that are deleted while
// they are open (.nfs…), desktops and NAS boxes leave files of their own (.DS_Store, @eaDir). A name counts only where it is
// what keys.go could have built.

// belongs says whether this package could have given an object that name below prefix.
func belongs(prefix, name string) bool { //nolint:gocyclo // a table: a case for each kind of key
	folder, isFolder := strings.CutSuffix(name, "/")
	parts := strings.Split(prefix, "/") // the last one is empty
	switch level := len(parts) - 1; parts[0] + "/" {
	case catalogPrefix:
		return level > 1 || !isFolder && validEscaped(name)
	case repositoriesPrefix:
		return level > 1 && belongsToRepository(parts[2:len(parts)-1], folder, isFolder) || level == 1 && isFolder && validEscaped(folder)
	case dataPrefix, marksPrefix:
		switch level {
		case 1:
			_, known := digestLengths[digest.Algorithm(folder)]
			return isFolder && known
		case 2:
			return isFolder && len(folder) == 2 && isHex(folder)
		}
		_, err := digestOf(dataPrefix + strings.Join(parts[1:level], "/") + "/" + name)
		return !isFolder && err == nil
	case uploadsPrefix:
		if level == 1 {
			return isFolder && idGrammar.MatchString(folder)
		}
		return name == uploadOver || len(name) == stepDigits && isDecimal(name)
	}
	return true
}

// belongsToRepository is belongs below r/<R>/, given the components that come after.
func belongsToRepository(below []string, name string, isFolder bool) bool {
	isDigest := func() bool {
		d, err := parseDigestName(name)
		return err == nil && SupportedDigest(d)
	}
	switch {
	case len(below) == 0:
		return isFolder
	case len(below) == 2: // below a digest
		return !isFolder && (below[0] != "g" && isDigest() || below[0] == "g" && ValidTag(name))
	case below[0] == "t":
		return !isFolder && ValidTag(name)
	case below[0] == "d":
		_, _, ok := parseDeletion(name)
		return !isFolder && ok
	case below[0] == "g" || below[0] == "s":
		return isFolder && isDigest()
	case below[0] == "m" || below[0] == "l":
		return !isFolder && isDigest()
	}
	return true
}

// validEscaped says whether name is a repository's as keys write it.
func validEscaped(name string) bool {
	plain := unescape(name)
	return ValidName(plain) && escape(plain) == name
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

func isDecimal(s string) bool { return strings.Trim(s, "0123456789") == "" }

// list is the driver's List without the names that are not ours. Fewer than limit names are the last ones.
func (s *Store) list(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return s.listReporting(ctx, prefix, after, limit, func(string) {})
}

// listReporting is list that reports the keys of others' files.
func (s *Store) listReporting(ctx context.Context, prefix, after string, limit int, stray func(key string)) ([]string, error) {
	var ours []string
	for len(ours) < limit {
		asked := limit - len(ours)
		names, err := s.d.List(ctx, prefix, after, asked)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if belongs(prefix, name) {
				ours = append(ours, name)
			} else {
				stray(prefix + name)
			}
		}
		if len(names) < asked {
			break // these were the last
		}
		after = names[len(names)-1]
	}
	return ours, nil
}

// each calls f for every name below a prefix.
func (s *Store) each(ctx context.Context, prefix string, f func(name string) error) error {
	return s.eachReporting(ctx, prefix, f, func(string) {})
}

// eachReporting is each that reports the keys of others' files.
func (s *Store) eachReporting(ctx context.Context, prefix string, f func(name string) error, stray func(key string)) error {
	const page = 1000
	after := ""
	for {
		names, err := s.listReporting(ctx, prefix, after, page, stray)
		if err != nil {
			return err
		}
		for _, after = range names {
			if err := f(after); err != nil {
				return err
			}
		}
		if len(names) < page {
			return nil
		}
	}
}
