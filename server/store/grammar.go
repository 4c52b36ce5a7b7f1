package store

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// This file holds what names, tags and digests look like. It is asked on every request, and the regular expressions that
// say the same (in the test) took as long as the rest of a request.

// Grammars of the distribution specification 1.1, "Pulling manifests".
const (
	// maxName is the specification's common limit on a repository's name, and fits a file's name.
	maxName = 255
	maxTag  = 128
)

// ValidName says whether name can be a repository's.
func ValidName(name string) bool { return len(name) <= maxName && validName(name) }

// validName says whether name is components with slashes between them.
func validName(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if !validComponent(part) {
			return false
		}
	}
	return true
}

// validComponent says whether s is words of lower-case letters and digits with ".", "_", "__" or dashes between them.
func validComponent(s string) bool {
	if s == "" || !isLowerAlnum(s[0]) || !isLowerAlnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isLowerAlnum(s[i]) {
			i++
			continue
		}
		start, c := i, s[i]
		for s[i] == c { // ends before s does, at the letter or digit that is its last
			i++
		}
		if c != '-' && (c != '.' || i-start > 1) && (c != '_' || i-start > 2) || !isLowerAlnum(s[i]) {
			return false
		}
	}
	return true
}

func isLowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// ValidTag says whether tag can be a tag.
func ValidTag(tag string) bool {
	if tag == "" || len(tag) > maxTag || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	for _, c := range []byte(tag) {
		if !isLowerAlnum(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// digestLengths are how many hexadecimal digits the digests that can be stored have.
var digestLengths = map[digest.Algorithm]int{digest.SHA256: 64, digest.SHA512: 128}

// SupportedDigest says whether content can be stored under d: sha256 and sha512 can.
func SupportedDigest(d digest.Digest) bool {
	algorithm, encoded, ok := strings.Cut(string(d), ":")
	if !ok || len(encoded) != digestLengths[digest.Algorithm(algorithm)] || encoded == "" {
		return false
	}
	for _, c := range []byte(encoded) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
