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
	// versionTag is a version of two or more numbers, with whatever is left of them or right of them in the usual ways:
	// lts__14.4.3, v1.2, 22.04, 1.0.0-rc.1, 1.0.0_build. A single number is a name like any other.
	versionTag   = regexp.MustCompile(`^(.*__)?[vV]?([0-9]+(?:\.[0-9]+)+)([-_+].*)?$`)
	signatureTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}([._-].*)?$`)
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

// IsVersionTag says whether a tag reads as a version, with or without a group. A pack can be given one such tag, the one
// that its pack.json makes; other names are aliases.
func IsVersionTag(tag string) bool { return versionTag.MatchString(tag) }

// IsSignatureTag says whether a tag is that of a signature or the like: sha256-<digest of what is signed>, perhaps with a
// suffix (.sig, .att, .sbom). One that reads as a version all the same is none.
func IsSignatureTag(tag string) bool {
	return signatureTag.MatchString(tag) && !IsVersionTag(tag) && !IsParentTag(tag)
}

// maxPackName leaves room for what comes before the name in that of a repository, which may have 255 bytes.
const maxPackName = 200

// IsName says whether a pack may have that name.
func IsName(name string) bool { return validName.MatchString(name) && len(name) <= maxPackName }

// IsTag says whether a registry takes that tag.
func IsTag(tag string) bool { return validTag.MatchString(tag) }

// State is the annotation system_state in lower case, or "disabled" where the annotation disabled says so.
func (m Metadata) State() string {
	if m.Annotations["disabled"] == "true" {
		return "disabled"
	}
	return strings.ToLower(m.Annotations["system_state"])
}
