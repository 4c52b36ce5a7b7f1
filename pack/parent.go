package pack

import (
	"strings"

	"golang.org/x/mod/semver"
)

// A version's parents are 14.x and 14.4.x for 14.4.3, with the group's prefix: tags that stand for the newest version below
// them. They are computed from the versions that there are, so that they move when one goes and vanish with the last.

// version splits a tag into the group's prefix ("lts__") and a semantic version (for package semver, with its "v");
// ok is false for any other tag.
func version(tag string) (prefix, v string, ok bool) {
	if i := strings.LastIndex(tag, "__"); i >= 0 {
		prefix, tag = tag[:i+2], tag[i+2:]
	}
	v = "v" + tag
	// semver takes v14 and v14.4 for versions too; a pack's has at least a minor.
	return prefix, v, semver.IsValid(v) && strings.Contains(tag, ".")
}

// Parents returns the parent tags of a version's tag, the narrowest first; none for what is no version.
func Parents(tag string) []string {
	prefix, v, ok := version(tag)
	if !ok {
		return nil
	}
	major := prefix + strings.TrimPrefix(semver.Major(v), "v") + ".x"
	if strings.Count(strings.SplitN(v, "-", 2)[0], ".") < 2 {
		return []string{major}
	}
	return []string{prefix + strings.TrimPrefix(semver.MajorMinor(v), "v") + ".x", major}
}

// ChildPrefix is what the tags below a parent tag begin with.
func ChildPrefix(parent string) string { return strings.TrimSuffix(parent, "x") }

// Newer says whether the version of tag a is to be preferred to that of tag b under one parent: any release is newer than
// every pre-release, else the semantic order holds.
func Newer(a, b string) bool {
	_, va, _ := version(a)
	_, vb, _ := version(b)
	if preA, preB := semver.Prerelease(va) != "", semver.Prerelease(vb) != ""; preA != preB {
		return preB
	}
	if order := semver.Compare(va, vb); order != 0 {
		return order > 0
	}
	return a > b
}
