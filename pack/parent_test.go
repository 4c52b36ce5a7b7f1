package pack

import (
	"slices"
	"testing"
)

func TestParents(t *testing.T) {
	for tag, want := range map[string][]string{
		"14.4.3":         {"14.4.x", "14.x"},
		"lts__14.4.3":    {"lts__14.4.x", "lts__14.x"},
		"a__b__1.2.3":    {"a__b__1.2.x", "a__b__1.x"},
		"14.4":           {"14.x"},
		"1.0.0-rc.1":     {"1.0.x", "1.x"},
		"14":             nil,
		"stable":         nil,
		"v1.2.3":         nil,
		"1.2.x":          nil,
		"01.2.3":         nil,
		"1.2.3.4":        nil,
		"lts__":          nil,
		"sha256-0a.1b.c": nil,
	} {
		if got := Parents(tag); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tag, got, want)
		}
		for _, parent := range Parents(tag) {
			if !IsParentTag(parent) || parent <= tag || ChildPrefix(parent) != tag[:len(ChildPrefix(parent))] {
				t.Errorf("%s: %s is no parent that comes after it and shares its beginning", tag, parent)
			}
		}
	}
}

func TestNewer(t *testing.T) {
	order := []string{"1.0.0-rc.1", "1.1.0-alpha", "1.0.0", "1.2.0", "1.10.0", "2.0.0"} // pre-releases last, whatever their numbers
	for i, a := range order {
		for j, b := range order {
			if Newer(a, b) != (i > j) {
				t.Errorf("Newer(%s, %s) is %v", a, b, i <= j)
			}
		}
	}
}
