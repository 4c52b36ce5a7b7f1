package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
	"packregistry.dev/internal/testserver"
)

// serve runs another project's registry until the test ends, and waits until it answers.
func serve(t *testing.T, address, program string, args ...string) {
	t.Helper()
	p := testserver.Exec(t, nil, program, args...)
	defer func() {
		if t.Failed() {
			t.Log(p.Output)
		}
	}()
	testserver.Eventually(t, filepath.Base(program)+" answers", 30*time.Second, func() bool {
		response, err := http.Get("http://" + address + "/v2/")
		if err != nil {
			return false
		}
		response.Body.Close()
		return true
	})
}

// otherRegistry is a registry of another project.
type otherRegistry struct {
	host string
	// noDelete is what its answer to a deletion says.
	noDelete string
}

func otherRegistries(t *testing.T) map[string]otherRegistry {
	t.Helper()
	distribution, readOnly, crane := testserver.FreeAddr(t), testserver.FreeAddr(t), testserver.FreeAddr(t)
	for address, remove := range map[string]bool{distribution: true, readOnly: false} {
		file := filepath.Join(t.TempDir(), "config.yml")
		text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: %v}}\nhttp: {addr: %q}\n", t.TempDir(), remove, address)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		serve(t, address, tool(t, "distribution", "registry"), "serve", file)
	}
	serve(t, crane, tool(t, "crane", "crane"), "registry", "serve", "--address", crane)
	return map[string]otherRegistry{"distribution": {host: distribution}, "distribution without deletes": {readOnly, "refused"}, "go-containerregistry": {host: crane}}
}

// Every command works with registries of other projects, below a base path.
func TestOtherRegistries(t *testing.T) {
	t.Parallel()
	own := testregistry.New(t, testregistry.Options{PlainHTTP: true})
	registries, large := otherRegistries(t), largePack(t)
	// Another one than own, to whose packs without a base path all copy.
	registries["own, with a base path"] = otherRegistry{host: testregistry.New(t, testregistry.Options{PlainHTTP: true}).Host}
	for name, r := range registries {
		t.Run(name, func(t *testing.T) {
			home, dir := t.TempDir(), t.TempDir()
			server := "oci://" + r.host + "/prod/team"
			demo := testpack.Dir(t, "demo", "1.0.0", nil)
			changed := testpack.Dir(t, "demo", "1.0.0", map[string]string{"README.md": "changed"})
			deleted, code := "deleted demo:1.0.0", 0
			if r.noDelete != "" {
				deleted, code = r.noDelete, 3
			}
			runLines(t, home,
				lineTest{"registry login " + server + " -i -d -u ann --password-stdin", 0, "Succeeded"},
				lineTest{"registry login " + own.Host + " -i -u ann --password-stdin", 0, "Succeeded"},
				lineTest{"pack ls -r " + server, 0, ""},
				lineTest{"pack push " + demo + " " + testpack.Dir(t, "demo", "1.1.0", nil) + " -r " + server, 0, "2 pushed"},
				lineTest{"pack push " + demo + " -r " + server, 0, "unchanged"},
				lineTest{"pack push " + large + " -r " + server, 0, "pushed large:1.0.0"}, // in chunks
				lineTest{"pack pull large " + dir + " -r " + server, 0, "large-1.0.0"},
				lineTest{"pack push " + changed + " -r " + server, 3, "exists already"},
				lineTest{"pack ls -r " + server, 0, "demo"},
				lineTest{"pack tag ls demo -r " + server, 0, "1.1.x"},
				lineTest{"pack describe demo:1.x -r " + server, 0, "1.1.0"},
				lineTest{"pack pull demo:1.0.x " + dir + " -r " + server, 0, "demo-1.0.0"},
				lineTest{"pack diff demo:1.0.0 " + changed + " -r " + server, 0, "changed   README.md"},
				lineTest{"pack pull none " + dir + " -r " + server, 5, "there is no pack none"},
				lineTest{"pack pull demo:7.0.0 " + dir + " -r " + server, 5, "there is no demo:7.0.0"},
				lineTest{"pack tag add demo:1.1.0 stable -r " + server, 0, "stable"},
				lineTest{"pack save demo -r " + server + " -o " + dir + "/a.tar", 0, "3 versions"},
				lineTest{"pack load " + dir + "/a.tar -r oci://" + r.host + "/other", 0, "loaded demo:stable"},
				lineTest{"pack save demo -r oci://" + r.host + "/other -o " + dir + "/b.tar", 0, "3 versions"},
				lineTest{"pack copy demo -r oci://" + r.host + "/other oci://" + r.host + "/third", 0, "copied demo:stable"},
				lineTest{"pack copy demo -r oci://" + r.host + "/other oci://" + r.host + "/third", 0, "unchanged demo:stable"},
				lineTest{"pack copy oci://" + r.host + "/third/demo:1.1.0 oci://" + r.host + "/fourth", 0, "copied demo:1.1.0"},
				lineTest{"pack copy demo -r " + server + " " + own.Host + " --force", 0, "demo:stable"},
				lineTest{"pack push -f -m why " + changed + " -r " + server, 0, "replaced"},
				lineTest{"pack delete demo:1.x -f -r " + server, 3, "parent tag"},
				lineTest{"pack delete demo:1.0.0 -f -r " + server, code, deleted},
			)
			if !bytes.Equal(read(t, dir+"/a.tar"), read(t, dir+"/b.tar")) {
				t.Error("what was loaded is not what was saved")
			}
			if _, out := run(t, home, "pack tag ls demo -r "+server); strings.Contains(out, "1.0.0") != (r.noDelete != "") {
				t.Error(out)
			}
		})
	}
}
