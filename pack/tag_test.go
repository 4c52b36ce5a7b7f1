package pack

import (
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
)

func TestIsVersionTag(t *testing.T) {
	for tag, want := range map[string]bool{
		"1.2.3": true, "14.4": true, "22.04": true, "v1.2.3": true, "V1.2": true, "1.2.3.4": true, "1.2.3.4.5": true, "1.0.0-rc.1": true, "01.2.3": true,
		"1.2.3_build.1": true, "1.2.3+build": true, "lts__14.4.3": true, "a__b__1.2": true, "lts___14.4.3": true, "LTS__22.04": true, "22.04-lts": true,
		"14": false, "v14": false, "stable": false, "1.x": false, "1.2.x": false, "lts__1.x": false, "lts__stable": false, "latest-1.2.3": false, "1.": false, "1..2": false,
		"lts_14.4.3": false, "": false,
	} {
		if got := IsVersionTag(tag); got != want {
			t.Errorf("IsVersionTag(%q) is %v", tag, got)
		}
	}
}

func TestIsSignatureTag(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	for tag, want := range map[string]bool{
		"sha256-" + hex: true, "sha256-" + hex + ".sig": true, "sha256-" + hex + "-1": true, "sha256-" + hex + "_x": true,
		"sha256-": false, "sha256-abc.sig": false, "sha256-" + hex[1:]: false, "sha256-" + hex + "0": false, "sha256-" + strings.ToUpper(hex): false, "x-sha256-" + hex: false,
		"sha256-" + hex + ".a__1.2": false, "sha256-" + hex + "__1.x": false, "sha512-" + hex: false, "sha256:" + hex: false,
	} {
		if got := IsSignatureTag(tag); got != want {
			t.Errorf("IsSignatureTag(%q) is %v", tag, got)
		}
	}
}

// What has parents moves them, so it must be bound to its pack.json.
func FuzzVersionTags(f *testing.F) {
	for _, tag := range []string{"1.2.3", "lts__14.4", "1.0.0-rc.1", "stable", "1.x", "__1.2", "sha256-" + strings.Repeat("0", 64) + ".a__1.2"} {
		f.Add(tag)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		if len(tag) > 10<<10 || !validTag.MatchString(tag) {
			return
		}
		testfuzz.Proportionate(t, len(tag), func() { IsVersionTag(tag); IsParentTag(tag); Parents(tag); Newer(tag, tag) })
		if len(Parents(tag)) > 0 && !IsVersionTag(tag) {
			t.Errorf("%q has the parents %v and is no version", tag, Parents(tag))
		}
		if IsVersionTag(tag) && (IsParentTag(tag) || IsSignatureTag(tag)) {
			t.Errorf("%q is a version and something else", tag)
		}
	})
}
