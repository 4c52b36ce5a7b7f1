package driver

import (
	"fmt"
	"strings"
)

// CheckKey returns ErrInvalidKey for a key that could leave its place in a file system.
func CheckKey(key string) error {
	if key == "" || len(key) > 1024 || strings.ContainsRune(key, 0) {
		return fmt.Errorf("%w %q", ErrInvalidKey, key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%w %q", ErrInvalidKey, key)
		}
	}
	return nil
}

// CheckPrefix is CheckKey for what List takes: a key that ends in "/", or nothing at all for the root.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	trimmed, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("%w: prefix %q does not end in /", ErrInvalidKey, prefix)
	}
	return CheckKey(trimmed)
}
