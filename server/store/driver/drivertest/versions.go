package drivertest

import (
	"slices"
	"testing"

	"packregistry.dev/server/store/driver"
)

// testListVersions: a list says of each object the version that reading it does, and another one once it was replaced by what differs.
func testListVersions(t *testing.T, d driver.Driver) {
	ctx := t.Context()
	list := func(after string, limit int) ([]driver.Entry, string) {
		t.Helper()
		entries, more, err := driver.ListVersions(ctx, d, "v/", after, limit)
		must(t, err)
		return entries, more
	}
	if entries, more := list("", 10); len(entries) != 0 || more != "" {
		t.Errorf("of nothing: %v, more after %q", entries, more)
	}
	for _, key := range []string{"v/a", "v/b", "v/c/below", "v/d"} {
		must(t, d.Create(ctx, key, []byte(key), driver.Durable))
	}
	var want []driver.Entry
	for _, name := range []string{"a", "b", "d"} {
		_, version, err := d.Read(ctx, "v/"+name)
		must(t, err)
		want = append(want, driver.Entry{Name: name, Version: version})
	}
	if entries, more := list("", 10); !slices.Equal(entries, want) || more != "" {
		t.Errorf("listed %v, more after %q; want %v", entries, more, want)
	}
	for size := 1; size <= 4; size++ {
		var got []driver.Entry
		for after := ""; ; {
			page, more := list(after, size)
			got = append(got, page...)
			if after = more; more == "" || len(got) > len(want) {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %d: %v, want %v", size, got, want)
		}
	}
	must(t, d.Replace(ctx, "v/b", []byte("other"), want[1].Version))
	entries, _ := list("a", 1)
	if len(entries) != 1 || entries[0].Name != "b" || entries[0].Version == want[1].Version {
		t.Errorf("after it was replaced: %v, before %v", entries, want[1])
	}
}
