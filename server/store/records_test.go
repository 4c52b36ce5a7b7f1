package store

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testfuzz"
)

// Objects of the storage are read in proportion to their size, whoever wrote them, and what is accepted of them can be relied on.
func FuzzRecords(f *testing.F) {
	d := digest.FromString("x")
	for _, text := range []string{
		string(header{MediaType: "m", Files: []File{{Name: "f", Digest: d, Size: 1}}}.record([]byte("{}"))),
		string(mustJSON(tagRecord{Digest: d})), string(mustJSON(link{Key: "b/sha256/00/00.0", Size: 1})), `{"key":"../x"}`, `{"purged":true}`, "\n", "",
		`{"files":[` + strings.Repeat(`{},`, 5_000) + "{}]}\n", strings.Repeat("[", 10_000), `{"digest":"` + strings.Repeat("sha256:", 1000) + `"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		testfuzz.Proportionate(t, len(text), func() {
			if m, err := parseManifest(d, "", text); err == nil {
				for _, file := range m.Files {
					if file.Digest.Validate() != nil {
						t.Errorf("a file of the digest %q", file.Digest)
					}
				}
			}
			if tag, err := parseTag(text); err == nil && !tag.Tombstone && tag.Digest.Validate() != nil {
				t.Errorf("a tag of the digest %q", tag.Digest)
			}
			if l, err := parseLink(text); err == nil && !l.Tombstone && (strings.Contains(l.Key, "..") || l.Size < 0) {
				t.Errorf("a link to %q", l.Key)
			}
			json.Unmarshal(text, &Referrer{}) //nolint:errcheck // whatever it says
		})
	})
}
