package pack_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/internal/testpack"
	"packregistry.dev/pack"
)

func archiveOf(t testing.TB, dir string) []byte {
	t.Helper()
	d, err := pack.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := d.WriteArchive(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestMetadata(t *testing.T) {
	with := func(more string) string {
		return `{"name":"n","displayName":"N","version":"1.0.0","layer":"addon"` + more + `}`
	}
	for _, tt := range []struct {
		name, text string
		tag        string
		want       []string // what the violations must say; none means valid
	}{
		{"smallest", with(""), "1.0.0", nil},
		{"unknown keys are legal", with(`,"commit_msg":"x","kubeVersion":"1"`), "1.0.0", nil},
		{"a group", with(`,"group":"LTS"`), "LTS__1.0.0", nil},
		{"a blank group is none", with(`,"group":" "`), "1.0.0", nil},
		{"a byte order mark", "\xef\xbb\xbf" + with(""), "1.0.0", nil},
		{"a leading v", strings.Replace(with(""), "1.0.0", "v1.0.0", 1), "v1.0.0", nil},
		{"missing keys, all of them", `{}`, "", []string{"name", "displayName", "version", "layer"}},
		{"unknown layer", strings.Replace(with(""), "addon", "cloud", 1), "1.0.0", []string{"pack.json#/layer"}},
		{"cloud type", with(`,"cloudTypes":["all","moon"]`), "1.0.0", []string{"pack.json#/cloudTypes/1"}},
		{"dependency without type", with(`,"constraints":{"dependencies":[{"packName":"p","layer":"k8s"}]}`), "1.0.0", []string{"pack.json#/constraints/dependencies/0", "type"}},
		{"annotation that is no string", with(`,"annotations":{"a":1}`), "1.0.0", []string{"pack.json#/annotations/a"}},
		{"capitals in the name", strings.Replace(with(""), `"n"`, `"N"`, 1), "1.0.0", []string{"pack.json#/name", "lower-case"}},
		{"a path as name", strings.Replace(with(""), `"n"`, `"../n"`, 1), "1.0.0", []string{"pack.json#/name"}},
		{"version that makes no tag", strings.Replace(with(""), "1.0.0", "1 0", 1), "1 0", []string{"pack.json#/version"}},
		{"version of a parent's form", strings.Replace(with(""), "1.0.0", "14.x", 1), "14.x", []string{"parent tag"}},
		{"not JSON", `{`, "", []string{"not JSON"}},
		{"not an object", `[]`, "", []string{"object"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, violations := pack.ParseMetadata([]byte(tt.text))
			if tt.tag != "" && m.Tag() != tt.tag {
				t.Errorf("tag %q, want %q", m.Tag(), tt.tag)
			}
			if (len(violations) == 0) != (len(tt.want) == 0) {
				t.Fatalf("violations: %v", violations)
			}
			all := fmt.Sprint(violations)
			for _, words := range tt.want {
				if !strings.Contains(all, words) {
					t.Errorf("the violations lack %q: %s", words, all)
				}
			}
		})
	}
}

func TestDirectory(t *testing.T) {
	for _, tt := range []struct {
		name    string
		changes map[string]string
		want    string
	}{
		{"valid", nil, ""},
		{"no pack.json", map[string]string{"pack.json": ""}, "pack.json: missing"},
		{"no values", map[string]string{"values.yaml": ""}, "values.yaml: missing"},
		{"a manifest that is not there", map[string]string{"manifests/app.yaml": ""}, `pack.json#/kubeManifests/0: "manifests/app.yaml" is not in the pack`},
		{"a chart outside", map[string]string{"pack.json": strings.Replace(testpack.Metadata("a", "1"), `"kubeManifests": ["manifests/app.yaml"]`, `"charts": ["x"]`, 1), "x": testpack.Chart(t, "x", "1.0.0", nil)}, ""},
		{"a path that leads out", map[string]string{"pack.json": strings.Replace(testpack.Metadata("a", "1"), "manifests/app.yaml", "../secret", 1)}, "leads out of the pack"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := pack.OpenDirectory(testpack.Dir(t, "a", "1", tt.changes))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("links are refused", func(t *testing.T) {
		dir := testpack.Dir(t, "a", "1", nil)
		if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		if _, err := pack.OpenDirectory(dir); err == nil || !strings.Contains(err.Error(), "link: neither a file nor a directory") {
			t.Errorf("error %v", err)
		}
	})
}

// The digest depends on the pack and on nothing else. A change of the number is a change of every pack's digest.
func TestArchiveIsByteStable(t *testing.T) {
	first := testpack.Dir(t, "a", "1", nil)
	second := testpack.Dir(t, "a", "1", nil)
	past := time.Unix(1, 0)
	err := filepath.WalkDir(second, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return errors.Join(err, os.Chtimes(path, past, past))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(second, ".DS_Store"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	one, two := archiveOf(t, first), archiveOf(t, second)
	if !bytes.Equal(one, two) {
		t.Error("the same pack gives other bytes")
	}
	const known = "195d64c1e1d8b28f"
	if got := digest.FromBytes(one).Encoded()[:16]; got != known {
		t.Errorf("digest %s, was %s: packs pushed by an earlier version would look changed", got, known)
	}
}

func TestArchiveRoundTrip(t *testing.T) {
	dir := testpack.Dir(t, "a", "1", map[string]string{"charts/deep/er/x.tgz": strings.Repeat("y", 5000)})
	archive := archiveOf(t, dir)
	found, err := pack.ReadArchive(t.Context(), bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	if found.Name != "a" || string(found.Browsable["README.md"]) != "# Test\n" || found.Browsable["charts/deep/er/x.tgz"] != nil {
		t.Errorf("found %+v", found)
	}
	files := map[string]string{}
	err = pack.UnpackTo(t.Context(), bytes.NewReader(archive), func(name string, r io.Reader) error {
		text, err := io.ReadAll(r)
		files[name] = string(text)
		return err
	})
	if err != nil || len(files) != 6 || files["charts/deep/er/x.tgz"] != strings.Repeat("y", 5000) {
		t.Errorf("unpacked %d files, %v", len(files), err)
	}
}

type entry struct {
	header tar.Header
	body   string
}

func tarOf(t testing.TB, compress bool, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	var out io.Writer = &b
	if compress {
		z := gzip.NewWriter(&b)
		defer z.Close()
		out = z
	}
	w := tar.NewWriter(out)
	for _, e := range entries {
		e.header.Size = int64(len(e.body))
		if e.header.Typeflag == 0 {
			e.header.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if z, ok := out.(*gzip.Writer); ok {
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func file(name, body string) entry { return entry{tar.Header{Name: name, Mode: 0o644}, body} }

func TestHostileArchives(t *testing.T) {
	valid := []entry{file("a/pack.json", testpack.Metadata("a", "1")), file("a/values.yaml", ""), file("a/manifests/app.yaml", "")}
	with := func(more ...entry) []byte { return tarOf(t, true, append(valid[:len(valid):len(valid)], more...)...) }
	for _, tt := range []struct {
		name    string
		archive []byte
		want    string
	}{
		{"valid", with(), ""},
		{"valid, not compressed", tarOf(t, false, valid...), ""},
		{"up and out", with(file("a/../../etc/passwd", "x")), "leads out of the pack"},
		{"absolute", with(file("/etc/passwd", "x")), "leads out of the pack"},
		{"backslashes", with(file(`a\..\x`, "x")), "not every system allows"},
		{"a link", with(entry{tar.Header{Name: "a/l", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""}), "links and devices are refused"},
		{"a hard link", with(entry{tar.Header{Name: "a/l", Typeflag: tar.TypeLink, Linkname: "a/pack.json"}, ""}), "links and devices are refused"},
		{"a device", with(entry{tar.Header{Name: "a/d", Typeflag: tar.TypeChar}, ""}), "links and devices are refused"},
		{"two folders", with(file("b/x", "x")), "one top folder"},
		{"no folder", tarOf(t, true, file("pack.json", "{}")), "one top folder"},
		{"a file twice", with(file("a/x", ""), file("a/x", "again")), "twice in the pack"},
		{"no pack.json", tarOf(t, true, file("a/values.yaml", "")), "pack.json: missing"},
		{"a huge pack.json", tarOf(t, true, file("a/pack.json", strings.Repeat(" ", 2<<20))), "larger than"},
		{"a bomb", with(file("a/zeros", strings.Repeat("\x00", 64<<20))), "more than a pack may hold"},
		{"empty", nil, "pack.json: missing"},
		{"not an archive", []byte("hello, this is no archive at all, however long it may be"), "not a tar archive"},
		{"cut off", with()[:100], "not a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := pack.ReadArchive(t.Context(), bytes.NewReader(tt.archive))
			var invalid *pack.Error
			if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &invalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			refusedAmongLeftOut(t, tt.archive, tt.want)
		})
	}
}

func TestAReadingErrorIsNoViolation(t *testing.T) {
	broken := io.MultiReader(bytes.NewReader(archiveOf(t, testpack.Dir(t, "a", "1", nil))[:80]), iotest.ErrReader(os.ErrClosed))
	_, err := pack.ReadArchive(t.Context(), broken)
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func TestParentTags(t *testing.T) {
	for tag, want := range map[string]bool{"14.x": true, "14.4.x": true, "LTS__14.x": true, "14.4.3": false, "x": false, "1.2.3.x": false, "stable": false} {
		if pack.IsParentTag(tag) != want {
			t.Errorf("IsParentTag(%q) = %v", tag, !want)
		}
	}
}

func FuzzReadArchive(f *testing.F) {
	dir := f.TempDir()
	for name, text := range testpack.Files("a", "1") {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(archiveOf(f, dir))
	f.Add(tarOf(f, false, file("a/pack.json", "{}")))
	f.Add([]byte{0x1f, 0x8b})
	for _, archive := range hostileArchives(f) {
		f.Add(archive)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		// What is shown is kept, 8 MiB of it at most, however few bytes it takes in the archive.
		testfuzz.Proportionate(t, 48<<10+len(archive), func() {
			pack.ReadArchive(t.Context(), bytes.NewReader(archive)) //nolint:errcheck // whatever it says
		})
		pack.ReadArchive(t.Context(), bytes.NewReader(archive))                                     //nolint:errcheck // it must only not panic or run away
		pack.UnpackTo(t.Context(), bytes.NewReader(archive), func(name string, r io.Reader) error { //nolint:errcheck // ibid.
			if !fs.ValidPath(name) {
				t.Errorf("unpacks to %q", name)
			}
			_, err := io.Copy(io.Discard, r)
			return err
		})
	})
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(testpack.Metadata("a", "1")))
	f.Add([]byte(`{"charts":[` + strings.Repeat("1,", 9_000) + `1]}`))
	f.Add([]byte(`{"constraints":{"dependencies":[` + strings.Repeat(`{},`, 5_000) + `{}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		// The schema's violations are all made, for the values that a pack.json may have at most, before a few of them are shown.
		testfuzz.Proportionate(t, 48<<10+len(text), func() { pack.ParseMetadata(text) })
		m, violations := pack.ParseMetadata(text)
		if len(violations) == 0 && (m.Name == "" || strings.ContainsAny(m.Tag(), "/: ")) {
			t.Errorf("accepted: %q makes %s:%s", text, m.Name, m.Tag())
		}
	})
}
