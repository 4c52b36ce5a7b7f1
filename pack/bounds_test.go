package pack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/internal/testpack"
	"packregistry.dev/pack"
)

// sparse is an archive whose one further file says that it has so many bytes, and holds none of them. The standard writer
// makes none, so the header's record is written as a file of its own, as PAX does it.
func sparse(t testing.TB, valid []entry, name, size string) []byte {
	t.Helper()
	var records strings.Builder
	for _, kv := range [][2]string{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", name}, {"GNU.sparse.realsize", size}} {
		line := fmt.Sprintf(" %s=%s\n", kv[0], kv[1])
		n := len(line) + 2
		fmt.Fprintf(&records, "%d%s", n, line)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range valid {
		e.header.Size, e.header.Typeflag = int64(len(e.body)), tar.TypeReg
		if err := errors.Join(w.WriteHeader(&e.header), writeAll(w, e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		flag byte
		name string
		body string
	}{{tar.TypeXHeader, "PaxHeaders/big", records.String()}, {tar.TypeReg, name, "0\n" + strings.Repeat("\x00", 510)}} {
		// A header of the writer's own, with the type changed and the sum of its bytes made right.
		var one bytes.Buffer
		h := tar.NewWriter(&one)
		if err := h.WriteHeader(&tar.Header{Name: part.name, Typeflag: tar.TypeReg, Size: int64(len(part.body)), Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		block := one.Bytes()[:512]
		block[156] = part.flag
		copy(block[148:156], "        ")
		sum := 0
		for _, c := range block {
			sum += int(c)
		}
		copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(block)
		b.WriteString(part.body)
		b.Write(make([]byte, (512-len(part.body)%512)%512))
	}
	b.Write(make([]byte, 1024))
	return b.Bytes()
}

func writeAll(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

func validEntries() []entry {
	return []entry{file("a/pack.json", testpack.Metadata("a", "1")), file("a/values.yaml", ""), file("a/manifests/app.yaml", "")}
}

// A few bytes must not stand for many: not in what is written when they are unpacked, nor in the time that reading takes.
func TestSparseFilesAreRefused(t *testing.T) {
	for _, tt := range [][2]string{{"a/big", "4611686018427387904"}, {"a/big", "3221225472"}, {"a/big", "10"}, {"a/._big", "10"}, {"__MACOSX/a/big", "10"}} {
		name, size := tt[0], tt[1]
		archive := sparse(t, validEntries(), name, size)
		_, err := pack.ReadArchive(t.Context(), bytes.NewReader(archive))
		var invalid *pack.Error
		if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "a sparse file") {
			t.Errorf("%s of %s bytes: reading: %v", name, size, err)
		}
		err = pack.UnpackTo(t.Context(), bytes.NewReader(archive), func(name string, _ io.Reader) error {
			if strings.Contains(name, "big") {
				t.Errorf("%s bytes: %s would be unpacked", size, name)
			}
			return nil
		})
		if !errors.As(err, &invalid) {
			t.Errorf("%s of %s bytes: unpacking: %v", name, size, err)
		}
	}
}

func TestArchivesAreBounded(t *testing.T) {
	with := func(more ...entry) []byte { return tarOf(t, false, append(validEntries(), more...)...) }
	folder := func(name string) entry { return entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, ""} }
	shown := func(size int, names ...string) (entries []entry) {
		for _, name := range names {
			entries = append(entries, file("a/"+name, ("<svg" + strings.Repeat("x", size))[:size]))
		}
		return entries
	}
	many := func(n int, f func(i int) entry) []byte {
		entries := make([]entry, n)
		for i := range entries {
			entries[i] = f(i)
		}
		return with(entries...)
	}
	for _, tt := range []struct {
		name    string
		archive []byte
		want    string
	}{
		{"a hundred folders deep", with(file("a/"+strings.Repeat("d/", 98)+"f", "")), ""},
		{"too deep", with(file("a/"+strings.Repeat("d/", 100_000)+"f", "")), "longer than 4096 bytes"},
		{"too deep by little", with(file("a/"+strings.Repeat("d/", 101)+"f", "")), "folders deep"},
		{"a long name", with(file("a/"+strings.Repeat("n", 5000), "")), "longer than 4096 bytes"},
		{"too many files", many(10_001, func(i int) entry { return file(fmt.Sprintf("a/f%d", i), "") }), "more than 10000 files and folders"},
		{"too many folders", many(10_001, func(i int) entry { return folder(fmt.Sprintf("a/f%d", i)) }), "more than 10000 files and folders"},
		{"too many folders that are only implied", many(200, func(i int) entry { return file(fmt.Sprintf("a/%d/%sf", i, strings.Repeat("d/", 90)), "") }), "more than 10000 files and folders"},
		{"one folder ten thousand times", many(10_001, func(int) entry { return folder("a/") }), "more than 10000 files and folders"},
		{"many long names", many(3000, func(i int) entry { return file(fmt.Sprintf("a/%04d%s", i, strings.Repeat("n", 4000)), "") }), "names of all files"},
		{"a file and a folder of one name", with(file("a/x", ""), file("a/x/y", "")), `lies in "x", which is a file`},
		{"a folder that was a file", with(file("a/x", ""), folder("a/x")), "twice in the pack"},
		{"a folder twice", with(folder("a/x"), folder("a/x/"), file("a/x/y", "")), ""},
		{"an entry for the archive's top", with(folder("./"), folder("a/")), ""},
		{"names in many letters", with(file("a/Größe-漢字 (1).txt", "")), ""},
		{"escape sequences", with(file("a/\x1b[31mred", "")), "control character U+001B"},
		{"a line feed", with(file("a/x\ny", "")), "control character U+000A"},
		{"text that runs backwards", with(file("a/x\u202egpj.exe", "")), "control character U+202E"},
		{"not UTF-8", with(file("a/\xff", "")), "not UTF-8"},
		{"names that differ in case", with(file("a/x", ""), file("a/X", "")), "in case only"},
		{"folders that differ in case", with(file("a/Manifests/x", "")), `differs from "manifests" in case only`},
		{"letters composed in two ways", with(file("a/\u00e9", ""), file("a/e\u0301", "")), "in case only"},
		{"a device", with(file("a/CON", "")), "device on Windows"},
		{"a device with an ending", with(file("a/x/nul.txt", "")), "device on Windows"},
		{"no device", with(file("a/console", ""), file("a/null", "")), ""},
		{"a stream", with(file("a/x:y", "")), "not every system allows"},
		{"a wildcard", with(file("a/*", "")), "not every system allows"},
		{"a dot at the end", with(file("a/x.", "")), "ends in a blank or a dot"},
		{"shown files of 8 MiB", with(shown(4<<20-1<<10, "README.md", "logo.png")...), ""},
		{"shown files of more", with(append(shown(4<<20, "README.md", "logo.png"), shown(1, "schema.yaml")...)...), "larger than 8388608 bytes together"},
		{"a shown file of more", with(shown(4<<20+1, "README.md")...), "README.md: larger than 4194304 bytes"},
		{"a blank at the end", with(file("a/x /y", "")), "ends in a blank or a dot"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := pack.ReadArchive(t.Context(), bytes.NewReader(tt.archive))
			var invalid *pack.Error
			if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &invalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %.300v, want %q", err, tt.want)
			}
			if invalid != nil && len(invalid.Error()) > 100<<10 {
				t.Errorf("the answer has %d bytes", len(invalid.Error()))
			}
			if !strings.Contains(tt.name, "shown file") {
				refusedAmongLeftOut(t, tt.archive, tt.want)
			}
		})
	}
}

// What is announced counts before it is read.
func TestAnnouncedSizesAreBounded(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "a/x", Typeflag: tar.TypeReg, Size: pack.MaxSize + 1, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	read := &counted{r: io.MultiReader(bytes.NewReader(b.Bytes()), zeros{})}
	if _, err := pack.ReadArchive(t.Context(), read); err == nil || !strings.Contains(err.Error(), "more than a pack may hold") {
		t.Errorf("error %v", err)
	}
	if read.n > 64<<10 {
		t.Errorf("read %d bytes", read.n)
	}
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A list of violations has an end, whatever it lists.
func TestViolationsAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"wrong charts": `{"name":"a","displayName":"A","version":"1","layer":"addon","charts":[` + strings.Repeat(`1,`, 5000) + `1]}`,
		"long values":  `{"name":"` + strings.Repeat("A", 500_000) + `","displayName":"A","version":"` + strings.Repeat("!", 400_000) + `","layer":"addon"}`,
	} {
		archive := tarOf(t, true, file("a/pack.json", text), file("a/values.yaml", ""))
		_, err := pack.ReadArchive(t.Context(), bytes.NewReader(archive))
		var invalid *pack.Error
		if !errors.As(err, &invalid) {
			t.Fatalf("%s: error %.200v", name, err)
		}
		if len(invalid.Violations) > 101 || len(invalid.Error()) > 100<<10 {
			t.Errorf("%s: %d violations of %d bytes", name, len(invalid.Violations), len(invalid.Error()))
		}
		if last := invalid.Violations[len(invalid.Violations)-1]; name == "wrong charts" && !strings.HasPrefix(last.Message, "and ") {
			t.Errorf("%s: the list ends with %q", name, last)
		}
	}
}

// pack.json becomes something in memory: half a million values of it are refused before they do.
func TestMetadataIsBounded(t *testing.T) {
	text := []byte(`{"charts":[` + strings.Repeat("1,", 500_000) + `1]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, violations := pack.ParseMetadata(text)
	runtime.ReadMemStats(&after)
	if len(violations) != 1 || !strings.Contains(violations[0].Message, "more than 10000 values") {
		t.Errorf("violations: %.300v", violations)
	}
	if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 8 {
		t.Errorf("took %d MiB", allocated)
	}
}

// What is checked is what others read: keys have one spelling and stand once.
func TestMetadataHasOneReading(t *testing.T) {
	for text, want := range map[string]string{
		`{"name":"a","Name":"b"}`:                             `"Name" must be written "name"`,
		`{"name":"a","name":"b"}`:                             `"name" stands twice`,
		`{"constraints":{"Dependencies":[]}}`:                 `"Dependencies" must be written "dependencies"`,
		`{"constraints":{"dependencies":[{"PackName":"p"}]}}`: `"PackName" must be written "packName"`,
	} {
		_, violations := pack.ParseMetadata([]byte(text))
		if !strings.Contains(fmt.Sprint(violations), want) {
			t.Errorf("%s: %v, want %q", text, violations, want)
		}
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	archive := tarOf(t, false, append(validEntries(), file("a/x", strings.Repeat("x", 1<<20)))...)
	err := pack.Walk(ctx, bytes.NewReader(archive), func(string, int64, io.Reader) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A directory is held to what an archive is, so that what packctl accepts the registry does too.
func TestDirectoriesHoldWhatArchivesMay(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"a colon", "x:y", "not every system allows"},
		{"a control character", "x\x1b[0m", "control character"},
		{"a device", "aux.c", "device on Windows"},
		{"case", "manifests/APP.yaml", "in case only"},
		{"depth", strings.Repeat("d/", 101) + "f", "folders deep"},
		{"a backslash", `x\y`, "not every system allows"},
		{"a shown file", "schema.yaml", "larger than 4194304 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := "x"
			if pack.IsBrowsable(tt.file) {
				content = strings.Repeat("x", 4<<20+1)
			}
			dir := testpack.Dir(t, "a", "1", map[string]string{tt.file: content})
			if _, err := os.Stat(filepath.Join(dir, tt.file)); err != nil {
				t.Fatal(err)
			}
			_, err := pack.OpenDirectory(dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// hostileArchives are small texts that become much for whoever reads them without a bound.
func hostileArchives(t testing.TB) [][]byte {
	with := func(more ...entry) []byte { return tarOf(t, true, append(validEntries(), more...)...) }
	twice := make([]entry, 3000)
	for i := range twice {
		twice[i] = file("a/x", "")
	}
	return [][]byte{
		sparse(t, validEntries(), "a/big", "4611686018427387904"),
		with(file("a/"+strings.Repeat("d/", 100_000)+"f", "")),
		with(twice...),
		with(file("a/zeros", strings.Repeat("\x00", 8<<20))),
		with(file("a/README.md", strings.Repeat("\x00", 3<<20)), file("a/logo.png", strings.Repeat("\x00", 3<<20))),
		tarOf(t, true, file("a/pack.json", `{"charts":[`+strings.Repeat("1,", 500_000)+`1]}`), file("a/values.yaml", "")),
	}
}

// Names of files are looked at in proportion to their length, and what passes can be unpacked everywhere.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"a/b", "CON", "x:y", "\u202e", strings.Repeat("d/", 2000) + "f", strings.Repeat("e\u0301", 1000), "a/\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if len(name) > 1<<20 || strings.HasSuffix(name, "/") {
			return
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if w.WriteHeader(&tar.Header{Name: "a/" + name, Typeflag: tar.TypeReg, Mode: 0o644}) != nil || w.Close() != nil {
			return
		}
		testfuzz.Proportionate(t, b.Len(), func() {
			pack.UnpackTo(t.Context(), bytes.NewReader(b.Bytes()), func(name string, _ io.Reader) error { //nolint:errcheck // whatever it says
				if !fs.ValidPath(name) || strings.ContainsAny(name, ":\\*?\"<>|\x00\x1b\n") {
					t.Errorf("unpacks to %q", name)
				}
				return nil
			})
		})
	})
}
