package main

import (
	"strings"
	"testing"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

func TestDelete(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{PlainHTTP: true})
	home := t.TempDir()
	lts := strings.Replace(testpack.Metadata("ubuntu", "14.4.3"), `"layer"`, `"group": "lts", "layer"`, 1)
	runLines(t, home,
		lineTest{"registry login " + r.Host + " -u ann --password-stdin -i", 0, "Succeeded"},
		lineTest{"pack push " + testpack.Dir(t, "ubuntu", "14.4.3", map[string]string{"pack.json": lts}) + " " + testpack.Dir(t, "ubuntu", "14.4.4", nil), 0, "2 pushed"},
		lineTest{"pack tag add ubuntu:14.4.4 stable", 0, "stable"},
		lineTest{"pack tag add ubuntu:lts__14.4.3 beta -g lts", 0, "ubuntu:lts__beta"},
		lineTest{"pack tag add ubuntu:lts__14.4.3 lts__gamma -g lts", 0, "ubuntu:lts__gamma"},
		lineTest{"pack tag ls ubuntu -g lts", 0, "lts__beta"},
		lineTest{"pack delete -f ubuntu:stable", 3, "ubuntu:stable is an alias, which does not delete its version; `packctl pack tag delete ubuntu:stable` removes it, `packctl pack delete ubuntu:14.4.4`"},
		lineTest{"pack delete -f ubuntu:beta -g lts", 3, "`packctl pack delete ubuntu:lts__14.4.3`"},
		lineTest{"pack delete -f ubuntu:14.4.x -g lts", 3, "ubuntu:lts__14.4.x is a parent tag: it stands for the newest version below it"},
		lineTest{"pack tag delete ubuntu:beta -g lts", 0, "removed the tag ubuntu:lts__beta"},
		lineTest{"pack delete ubuntu:14.4.3 -g lts", 2, "--force"},
		lineTest{"pack delete -f ubuntu:14.4.3 -g lts", 0, "deleted ubuntu:lts__14.4.3 (lts__14.4.3, lts__gamma)"},
		lineTest{"pack delete -f ubuntu:14.4.3 -g lts", 5, "there is no ubuntu:lts__14.4.3"},
		lineTest{"pack pull ubuntu:stable " + t.TempDir(), 0, "pulled"},
	)
	if _, out := run(t, home, "pack tag ls ubuntu"); strings.Contains(out, "lts") {
		t.Error(out)
	}
}
