package client

import "fmt"

// Bounds on what a registry may answer: who pulls from a server need not trust it.
const (
	// maxManifest is how many bytes a manifest may have; registries take no larger ones.
	maxManifest = 4 << 20
	// maxNames is how many names all pages of a list may have, and maxPages how many pages there may be.
	maxNames = 1_000_000
	maxPages = 100_000
)

// pages counts what comes of a list. A server can go on for ever, with names or without.
type pages struct{ pages, names int }

func (p *pages) add(names int) error {
	p.pages++
	if p.names += names; p.names > maxNames || p.pages > maxPages {
		return fmt.Errorf("the server's list does not end: %d names on %d pages", p.names, p.pages)
	}
	return nil
}

// checkSize says what is wrong with the size that a server gives of something.
func checkSize(what string, size, most int64) error {
	if size < 0 || size > most {
		return fmt.Errorf("%s has %d bytes, the server says; it may have %d", what, size, most)
	}
	return nil
}
