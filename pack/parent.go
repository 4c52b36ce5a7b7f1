package pack

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// A version's parents are 14.x and 14.4.x for 14.4.3, with the group's prefix: tags that stand for the newest version below
// them. They are computed from the versions that there are, so that they move when one goes and vanish with the last.
// Versions are compared number by number, so that a leading v and leading zeros do not count: 22.04 lies below 22.4.x.

// version is a version's tag, taken apart.
type version struct {
	// group is the group's prefix ("lts__"); numbers have no leading zeros; suffix is what follows them ("-rc.1").
	group   string
	numbers []string
	suffix  string
}

// parseVersion is ok for what IsVersionTag says is a version.
func parseVersion(tag string) (v version, ok bool) {
	found := versionTag.FindStringSubmatch(tag)
	if found == nil {
		return v, false
	}
	v.group, v.suffix = found[1], found[3]
	for number := range strings.SplitSeq(found[2], ".") {
		v.numbers = append(v.numbers, cmp.Or(strings.TrimLeft(number, "0"), "0"))
	}
	return v, true
}

func (v version) isRelease() bool { return !strings.HasPrefix(v.suffix, "-") }

// Group is the group of a version's tag, "" for none.
func Group(tag string) string {
	v, _ := parseVersion(tag)
	return strings.TrimSuffix(v.group, "__")
}

// Parents returns the parent tags of a version's tag, the narrowest first; none for what is no version.
func Parents(tag string) []string {
	v, ok := parseVersion(tag)
	if !ok {
		return nil
	}
	return []string{v.group + v.numbers[0] + "." + v.numbers[1] + ".x", v.group + v.numbers[0] + ".x"}
}

// ParentGroup is the group's prefix of a parent tag, which all versions below it begin with.
func ParentGroup(parent string) string {
	if i := strings.LastIndex(parent, "__"); i >= 0 {
		return parent[:i+2]
	}
	return ""
}

// Newer says whether the version of tag a is to be preferred to that of tag b: any release is newer than every
// pre-release, else the semantic order holds.
func Newer(a, b string) bool { return compareTags(a, b) > 0 }

func compareTags(a, b string) int {
	va, _ := parseVersion(a)
	vb, _ := parseVersion(b)
	if va.isRelease() != vb.isRelease() {
		return map[bool]int{true: 1, false: -1}[va.isRelease()]
	}
	return cmp.Or(compareVersions(va, vb), strings.Compare(a, b))
}

// compareVersions compares numbers, where a missing one is 0, and then what follows them as semver does.
func compareVersions(a, b version) int {
	for i := range max(len(a.numbers), len(b.numbers)) {
		if order := compareNumbers(at(a.numbers, i), at(b.numbers, i)); order != 0 {
			return order
		}
	}
	return compareSuffixes(a.suffix, b.suffix)
}

func at(numbers []string, i int) string {
	if i < len(numbers) {
		return numbers[i]
	}
	return "0"
}

// compareNumbers compares numbers of any length that have no leading zeros.
func compareNumbers(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// compareSuffixes: no suffix comes after one of a pre-release, and build metadata does not count.
func compareSuffixes(a, b string) int {
	for _, s := range []*string{&a, &b} {
		if !strings.HasPrefix(*s, "-") {
			*s = ""
		}
	}
	va, vb := "v0.0.0"+a, "v0.0.0"+b
	if semver.IsValid(va) && semver.IsValid(vb) {
		return semver.Compare(va, vb)
	}
	return strings.Compare(a, b)
}

// Newest returns the newest of the versions below a parent tag, or of all versions where there is no parent; "" where there
// is none.
func Newest(tags []string, parent string) string {
	newest := ""
	for _, tag := range tags {
		if !IsVersionTag(tag) || parent != "" && !slices.Contains(Parents(tag), parent) {
			continue
		}
		if newest == "" || Newer(tag, newest) {
			newest = tag
		}
	}
	return newest
}

// SortTags sorts versions before other names, by group and version with the newest first, and other names in byte order.
func SortTags(tags []string) {
	slices.SortFunc(tags, func(a, b string) int {
		va, isA := parseVersion(a)
		vb, isB := parseVersion(b)
		switch {
		case isA != isB:
			return map[bool]int{true: -1, false: 1}[isA]
		case !isA:
			return strings.Compare(a, b)
		}
		return cmp.Or(strings.Compare(va.group, vb.group), -compareVersions(va, vb), -strings.Compare(a, b))
	})
}

// VersionOf is a version's tag without its group; empty for what is no version.
func VersionOf(tag string) string {
	v, ok := parseVersion(tag)
	if !ok {
		return ""
	}
	return strings.Join(v.numbers, ".") + v.suffix
}
