package basepaths

import (
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/pack"
)

// A name stands for one repository, and a repository's own name for itself: no other spelling leads past what is known of either.
func FuzzRepository(f *testing.F) {
	for _, name := range []string{"demo", "prod", "prod/spectro-packs/archive/demo", "prod/spectro-packs/archive", "prod/prod/spectro-packs/archive/a", "team/b/spectro-packs/archive/prod/spectro-packs/archive/a",
		"spectro-packs/archive/prod/spectro-packs/archive/a", "prod/spectro-packs/archive/../../x", strings.Repeat("prod/spectro-packs/archive/", 10)} {
		f.Add(name)
	}
	p := New([]string{"prod", "team/b", "team", "prod-b"})
	f.Fuzz(func(t *testing.T, name string) {
		testfuzz.Proportionate(t, len(name), func() {
			own := p.Repository(name)
			base, mapped := strings.CutSuffix(name, own)
			if mapped = mapped && base != ""; !mapped && own != name {
				t.Fatalf("%q becomes %q", name, own)
			}
			if mapped && own+"/" != pack.ArchivePrefix && !strings.HasPrefix(own, pack.ArchivePrefix) {
				t.Errorf("%q becomes %q, which is no pack", name, own)
			}
			if again := p.Repository(own); again != own {
				t.Errorf("%q becomes %q, which becomes %q", name, own, again)
			}
			if reserved, ok := p.Reserved(own); mapped && ok {
				t.Errorf("%q becomes %q, which lies below %s", name, own, reserved)
			}
		})
	})
}
