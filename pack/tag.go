package pack

import (
	"regexp"
	"strings"
)

var (
	// validName is one component of a repository's name (distribution specification 1.1), which a pack's name becomes.
	validName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)
	validTag  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	parentTag = regexp.MustCompile(`^(.*__)?[0-9]+(\.[0-9]+)?\.x$`)
)

// ArchivePrefix is where packs lie among a registry's repositories; consoles expect them there.
const ArchivePrefix = "spectro-packs/archive/"

// Repository is the name of the repository that a pack of that name is kept in.
func Repository(name string) string { return ArchivePrefix + name }

// Tag is the tag that the version is pushed under: <group>__<version>, or <version> where there is no group. A group of
// blanks is none.
func (m Metadata) Tag() string {
	if group := strings.TrimSpace(m.Group); group != "" {
		return group + "__" + m.Version
	}
	return m.Version
}

// ArchiveName is the file name of the version's archive.
func (m Metadata) ArchiveName() string { return m.Folder() + ".tar.gz" }

// Folder is the top folder of the archive.
func (m Metadata) Folder() string { return m.Name + "-" + m.Version }

// IsParentTag says whether a tag has the form 14.x or 14.4.x: it stands for the newest version below it, and is never
// stored.
func IsParentTag(tag string) bool { return parentTag.MatchString(tag) }
