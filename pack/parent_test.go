package pack

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestParents(t *testing.T) {
	for tag, want := range map[string][]string{
		"14.4.3":         {"14.4.x", "14.x"},
		"lts__14.4.3":    {"lts__14.4.x", "lts__14.x"},
		"a__b__1.2.3":    {"a__b__1.2.x", "a__b__1.x"},
		"1.0.0-rc.1":     {"1.0.x", "1.x"},
		"LTS__22.04":     {"LTS__22.4.x", "LTS__22.x"},
		"26.04.4":        {"26.4.x", "26.x"},
		"20.00":          {"20.0.x", "20.x"},
		"1.5":            {"1.5.x", "1.x"},
		"1.2.3.4":        {"1.2.x", "1.x"},
		"v1.2.3":         {"1.2.x", "1.x"},
		"LTS__V1.2":      {"LTS__1.2.x", "LTS__1.x"},
		"01.2.3":         {"1.2.x", "1.x"},
		"0.0.1":          {"0.0.x", "0.x"},
		"1.2.3_build":    {"1.2.x", "1.x"},
		"22.04-lts":      {"22.4.x", "22.x"},
		"14":             nil,
		"v14":            nil,
		"stable":         nil,
		"1.2.x":          nil,
		"lts__":          nil,
		"sha256-0a.1b.c": nil,
	} {
		if got := Parents(tag); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tag, got, want)
		}
		for _, parent := range Parents(tag) {
			if !IsParentTag(parent) || ParentGroup(parent) != tag[:len(ParentGroup(parent))] {
				t.Errorf("%s: %s is no parent of its group", tag, parent)
			}
		}
	}
}

// Pre-releases last, whatever their numbers; numbers as numbers, however they are written.
func TestNewer(t *testing.T) {
	order := []string{"1.0.0-rc.1", "1.0.0-rc.2", "1.0.0-rc.11", "1.1.0-alpha", "1.0.0", "v1.0.1", "1.2", "1.2.0.1", "01.2.1", "1.10.0", "2.0.0", "20.04", "22.4", "22.04.1", "22.010",
		"99999999999999999999.0", "100000000000000000000.0"}
	for i, a := range order {
		for j, b := range order {
			if Newer(a, b) != (i > j) {
				t.Errorf("Newer(%s, %s) is %v", a, b, i <= j)
			}
		}
	}
	if Newer("1.2.0", "1.2.0") || Newer("1.2", "1.2.0") == Newer("1.2.0", "1.2") {
		t.Error("it is no order")
	}
}

func TestSortTags(t *testing.T) {
	want := []string{"1.10.0", "1.9.0", "1.9.0-rc.1", "v1.2.0", "LTS__22.10", "LTS__22.04", "canary", "stable"}
	for range 20 {
		got := slices.Clone(want)
		rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		if SortTags(got); !slices.Equal(got, want) {
			t.Fatal(got)
		}
	}
}

func TestNewest(t *testing.T) {
	tags := []string{"stable", "1.2.0", "v1.10.0", "2.0.0-rc.1", "1.2.9", "lts__3.0.0"}
	for parent, want := range map[string]string{"": "lts__3.0.0", "1.x": "v1.10.0", "1.2.x": "1.2.9", "2.x": "2.0.0-rc.1", "lts__3.x": "lts__3.0.0", "3.x": "", "4.x": ""} {
		if got := Newest(tags, parent); got != want {
			t.Errorf("%s: %q, want %q", parent, got, want)
		}
	}
}
