package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
	"packregistry.dev/internal/testserver"
)

// two returns two registries and a home that is logged in to both, the first by default.
func two(t *testing.T) (home string, here, there testregistry.Registry) {
	t.Helper()
	here, there = testregistry.New(t, testregistry.Options{PlainHTTP: true}), testregistry.New(t, testregistry.Options{PlainHTTP: true})
	home = t.TempDir()
	for _, r := range []testregistry.Registry{here, there} {
		if code, out := run(t, home, "registry login "+r.Host+" -u ann --password-stdin -i"); code != 0 {
			t.Fatal(out)
		}
	}
	return home, here, there
}

type lineTest struct {
	line  string
	code  int
	words string
}

func runLines(t *testing.T, home string, lines ...lineTest) {
	t.Helper()
	for _, tt := range lines {
		if code, out := run(t, home, tt.line); code != tt.code || !strings.Contains(out, tt.words) {
			t.Errorf("packctl %s: exit code %d, want %d and %q; %s", tt.line, code, tt.code, tt.words, out)
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sign makes a registry hold something that refers to a version, as a signature does.
func sign(t *testing.T, r testregistry.Registry, name, tag string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "signature")
	if err := os.WriteFile(file, []byte("signed "+tag), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, tool(t, "oras", "oras"), "attach", "--plain-http", "-u", testregistry.Username, "-p", testregistry.Password, "--disable-path-validation",
		"--annotation", "org.opencontainers.image.created=2020-01-01T00:00:00Z", "--artifact-type", "application/vnd.example.signature", r.Host+"/spectro-packs/archive/"+name+":"+tag, file)
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	home, here, there := two(t)
	dir := t.TempDir()
	runLines(t, home,
		lineTest{"pack push " + testpack.Dir(t, "demo", "1.0.0", nil) + " " + testpack.Dir(t, "demo", "1.1.0", nil) + " " + testpack.Dir(t, "other", "2.0.0", nil), 0, "3 pushed"},
		lineTest{"pack tag add demo:1.1.0 stable", 0, "stable"},
	)
	sign(t, here, "demo", "1.1.0")
	file := filepath.Join(dir, "packs.tar")
	runLines(t, home,
		lineTest{"pack save none -o " + file, 5, "there is no pack none"},
		lineTest{"pack save demo", 2, "--file FILE"},
		lineTest{"pack save demo:1.x --versions 1 -o " + file, 2, "not both"},
		lineTest{"pack save demo -o " + filepath.Join(dir, "none", "x"), 1, "no such file"},
		lineTest{"pack save demo -o x --part-size 5", 2, "64Ki"},
		lineTest{"pack save other demo -o " + file, 0, "4 versions"},
		lineTest{"pack save demo other:2.x -o " + file + "2", 0, "saved demo:stable"},
		lineTest{"pack save demo --versions <1.1 -o " + filepath.Join(dir, "one.tar"), 0, "1 versions"},
		lineTest{"pack save demo other -o " + filepath.Join(dir, "layout") + "/", 0, "4 versions"},
		lineTest{"pack save demo other -o " + filepath.Join(dir, "layout") + "/", 1, "exists already"},
		lineTest{"pack save demo other --part-size 64Ki -o " + filepath.Join(dir, "parts.tar"), 0, "in 1 parts"},
		lineTest{"pack save demo other --part-size 64Ki -o " + filepath.Join(dir, "parts.tar"), 1, "exists already"},
	)
	if !bytes.Equal(read(t, file), read(t, file+"2")) || !bytes.Equal(read(t, file), read(t, filepath.Join(dir, "parts.tar.000"))) {
		t.Error("the same packs were saved as other bytes")
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".saving-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	cmd := process(t, home, "pack", "load", filepath.Join(dir, "one.tar"), "-r", there.Host)
	lock, err := cmd.Output()
	if err != nil || !json.Valid(lock) || bytes.Count(lock, []byte("sha256:")) != 3 {
		t.Fatalf("%s, %v", lock, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), lock, 0o600); err != nil {
		t.Fatal(err)
	}
	rest := filepath.Join(dir, "rest.tar")
	empty := testregistry.New(t, testregistry.Options{PlainHTTP: true})
	runLines(t, home,
		lineTest{"registry login " + empty.Host + " -u ann --password-stdin -i", 0, "Succeeded"},
		lineTest{"pack save demo --since /none -o " + rest, 1, "no such file"},
		lineTest{"pack save demo --since " + file + " -o " + rest, 1, "not a lock"},
		lineTest{"pack save demo other --since " + filepath.Join(dir, "lock") + " -o " + rest, 0, "left out: 2 blobs"},
		lineTest{"pack load " + rest + " -r " + empty.Host, 3, "--since"},
	)
	runs(t, home, []commandLine{{"pack ls -r " + empty.Host, 0, []string{"!demo", "!other"}}}) // nothing was sent
	runLines(t, home,
		lineTest{"pack load " + rest + " -r " + there.Host, 0, "loaded demo:stable"},
		lineTest{"pack load " + rest + " -r " + there.Host, 0, "unchanged demo:stable"},
		lineTest{"pack load " + filepath.Join(dir, "parts.tar") + " -r " + empty.Host, 0, "loaded other:2.0.0"},
		lineTest{"pack load " + filepath.Join(dir, "layout") + " -r " + empty.Host, 0, "unchanged other:2.0.0"},
		lineTest{"pack push -f -m why -r " + empty.Host + " " + testpack.Dir(t, "demo", "1.0.0", map[string]string{"README.md": "changed"}), 0, "replaced"},
		lineTest{"pack load " + file + " -r " + empty.Host, 3, "--force replaces it"},
		lineTest{"pack load " + file + " --force -r " + empty.Host, 0, "loaded demo:1.0.0"},
	)
	// What there is now is what was there: saved again, it gives the same bytes, signatures included.
	for i, r := range []testregistry.Registry{there, empty} {
		again := filepath.Join(dir, "again"+string(rune('0'+i)))
		runLines(t, home, lineTest{"pack save demo other -o " + again + " -r " + r.Host, 0, "4 versions"})
		if !bytes.Equal(read(t, file), read(t, again)) {
			t.Errorf("%s has other content than what was saved", r.Host)
		}
	}
}

// Other programs read what was saved.
func TestOtherProgramsReadASavedFile(t *testing.T) {
	t.Parallel()
	home, here, there := two(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "packs.tar")
	runLines(t, home, lineTest{"pack push " + testpack.Dir(t, "demo", "1.1.0", nil) + " " + testpack.Dir(t, "other", "2.0.0", nil), 0, "2 pushed"})
	sign(t, here, "demo", "1.1.0")
	runLines(t, home, lineTest{"pack save demo other -o " + file, 0, "2 versions"}, lineTest{"pack save demo other -o " + dir + "/layout/", 0, "2 versions"})
	oras := tool(t, "oras", "oras")
	for _, layout := range []string{file, dir + "/layout"} {
		if out := output(t, oras, "manifest", "fetch", "--oci-layout", layout+":other/2.0.0"); !strings.Contains(out, "other-2.0.0.tar.gz") {
			t.Error(out)
		}
		if out := output(t, oras, "discover", "--oci-layout", layout+":demo/1.1.0"); !strings.Contains(out, "application/vnd.example.signature") {
			t.Error(out)
		}
	}
	output(t, oras, "copy", "-r", "--from-oci-layout", file+":demo/1.1.0", "--to-plain-http", "--to-username", testregistry.Username, "--to-password", testregistry.Password,
		there.Host+"/spectro-packs/archive/demo:1.1.0")
	runLines(t, home, lineTest{"pack pull demo:1.1.0 " + dir + " -r " + there.Host, 0, "pulled"})
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		testserver.Missing(t, "skopeo is not installed; hack/prepare.sh installs it")
	}
	if out := output(t, skopeo, "inspect", "--raw", "oci-archive:"+file+":demo/1.1.0"); !strings.Contains(out, "demo-1.1.0.tar.gz") {
		t.Error(out)
	}
	output(t, skopeo, "copy", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", testregistry.Username+":"+testregistry.Password,
		"oci:"+dir+"/layout:other/2.0.0", "docker://"+there.Host+"/spectro-packs/archive/other:2.0.0")
	runLines(t, home, lineTest{"pack pull other:2.0.0 " + dir + " -r " + there.Host, 0, "pulled"})
}
