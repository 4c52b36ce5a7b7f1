package main

import (
	"strings"
	"testing"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

// Below a base path of our own registry packs are those of the registry itself, in both directions.
func TestBasePathsOfTheRegistry(t *testing.T) {
	t.Parallel()
	for name, access := range map[string]string{"users": "{}", "tokens": "{anonymouspull: true}"} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{Access: access, Settings: "packs: {basepaths: [prod, team/b]}\n"})
			home := t.TempDir()
			prod, team := " -r oci://"+r.Host+"/prod", " -r oci://"+r.Host+"/team/b"
			first, second := testpack.Dir(t, "demo", "1.0.0", nil), testpack.Dir(t, "web", "2.0.0", nil)
			runLines(t, home,
				lineTest{"registry login " + r.Host + " -u ann --password-stdin -i -d", 0, "Succeeded"},
				lineTest{"pack push " + first, 0, "pushed"},
				lineTest{"pack ls" + prod, 0, "demo"},
				lineTest{"pack tag ls demo" + team, 0, "1.0.0"},
				lineTest{"pack push " + second + prod, 0, "pushed"},
				lineTest{"pack ls", 0, "web"},
				lineTest{"pack ls" + team, 0, "web"},
				lineTest{"pack pull demo:1.0.0 " + t.TempDir() + prod, 0, ""},
				lineTest{"pack pull web:2.0.0 " + t.TempDir(), 0, ""},
				lineTest{"pack push " + first + team, 0, "unchanged"},
				lineTest{"pack copy " + r.Host + "/demo oci://" + r.Host + "/prod", 0, "unchanged demo:1.0.0"},
				lineTest{"pack tag add demo:1.0.0 stable" + prod, 0, "stable"},
				lineTest{"pack tag ls demo", 0, "stable"},
				lineTest{"pack delete web:2.0.0 --force" + team, 0, ""},
			)
			if code, out := run(t, home, "pack ls"); code != 0 || strings.Contains(out, "web") || strings.Count(out, "demo") != 1 {
				t.Errorf("after the deletion: %d, %s", code, out)
			}
		})
	}
}
