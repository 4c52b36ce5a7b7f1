//go:build !linux

package filesystem

// moveNew moves a file to a name that is free.
func moveNew(from, to string) error { return moveByLink(from, to) }
