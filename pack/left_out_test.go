package pack_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/pack"
)

// entriesOf reads an archive back; it is empty for what is none.
func entriesOf(archive []byte) (entries []entry) {
	var from io.Reader = bytes.NewReader(archive)
	if z, err := gzip.NewReader(from); err == nil {
		from = z
	} else {
		from = bytes.NewReader(archive)
	}
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if err != nil {
			return entries
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return nil
		}
		h.PAXRecords, h.Format = nil, tar.FormatUnknown
		entries = append(entries, entry{*h, string(body)})
	}
}

// refusedAmongLeftOut moves what an archive has beside a valid pack's files into a folder whose content is left out, which is
// directly below the top or right before the last part of the name. What is refused must be refused there too: others unpack it.
func refusedAmongLeftOut(t *testing.T, archive []byte, want string) {
	t.Helper()
	valid := len(validEntries())
	all := entriesOf(archive)
	if len(all) <= valid {
		return // nothing is beside the pack's own files
	}
	var errs []error
	for _, cut := range []func(string) int{
		func(name string) int { return strings.Index(name, "/") + 1 },
		func(name string) int { return strings.LastIndex(strings.TrimSuffix(name, "/"), "/") + 1 },
	} {
		moved := slices.Clone(all)
		for i := range moved[valid:] {
			name := &moved[valid+i].header.Name
			at := cut(*name)
			*name = (*name)[:at] + "__MACOSX/" + (*name)[at:]
		}
		_, err := pack.ReadArchive(t.Context(), bytes.NewReader(tarOf(t, true, moved...)))
		errs = append(errs, err)
		if want == "" && err != nil {
			t.Errorf("in a folder that is left out: %.300v", err)
		}
	}
	if err := errors.Join(errs...); want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), `"__MACOSX/`, `"`), want)) {
		t.Errorf("in a folder that is left out: error %.300v, want %q", err, want)
	}
}

// What is left out of a pack is in its archive all the same, for whoever unpacks it with something else.
func TestWhatIsLeftOutIsChecked(t *testing.T) {
	special := func(name string, kind byte, link string) entry {
		return entry{tar.Header{Name: name, Typeflag: kind, Linkname: link, Mode: 0o644}, ""}
	}
	for _, tt := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"a link", []entry{special("a/._link", tar.TypeSymlink, "/etc")}, "links and devices are refused"},
		{"a link and a file behind it", []entry{special("a/._link", tar.TypeSymlink, "/etc"), file("a/._link/cron.d/x", "x")}, "links and devices are refused"},
		{"a link beside the top folder", []entry{special("__MACOSX", tar.TypeSymlink, "/etc")}, "links and devices are refused"},
		{"a hard link", []entry{special("a/.DS_Store", tar.TypeLink, "a/pack.json")}, "links and devices are refused"},
		{"a block device", []entry{special("a/__MACOSX/dev", tar.TypeBlock, "")}, "links and devices are refused"},
		{"a pipe", []entry{special("a/._pipe", tar.TypeFifo, "")}, "links and devices are refused"},
		{"up and out", []entry{file("../../../._evil", "x")}, "leads out of the pack"},
		{"up and out by one", []entry{file("../.DS_Store/x", "x")}, "leads out of the pack"},
		{"absolute", []entry{file("/etc/cron.d/._evil", "x")}, "leads out of the pack"},
		{"a file behind a file", []entry{file("a/._x", "x"), file("a/._x/y", "x")}, `lies in "._x", which is a file`},
		{"twice", []entry{file("a/._x", "x"), file("a/._x", "y")}, "twice in the pack"},
		{"twice beside the top folder", []entry{file("._x", "x"), file("._x", "y")}, "twice in the pack"},
		{"differs in case", []entry{file("a/.DS_Store", "x"), file("a/.ds_store", "x")}, "in case only"},
		{"differs in case beside the top folder", []entry{file("__MACOSX/x", "x"), file("__macosx/x", "x")}, "in case only"},
		{"in another top folder", []entry{file("b/._x", "x")}, "one top folder"},
		{"a device's name", []entry{file("__MACOSX/nul", "x")}, "device on Windows"},
		{"names no file of the pack", []entry{file("a/x", ""), file("._a", "x"), file("__MACOSX/a/._x", "x"), file("a/.DS_Store", "x")}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			archive := tarOf(t, true, append(validEntries(), tt.entries...)...)
			_, read := pack.ReadArchive(t.Context(), bytes.NewReader(archive))
			unpack := pack.UnpackTo(t.Context(), bytes.NewReader(archive), func(string, io.Reader) error { return nil })
			for name, err := range map[string]error{"reading": read, "unpacking": unpack} {
				var invalid *pack.Error
				if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &invalid) || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("%s: error %.300v, want %q", name, err, tt.want)
				}
			}
		})
	}
}

// pack.json cannot name what is left out.
func TestWhatIsLeftOutIsNoFileOfThePack(t *testing.T) {
	text := strings.Replace(testpack.Metadata("a", "1"), "manifests/app.yaml", "manifests/._app.yaml", 1)
	archive := tarOf(t, true, file("a/pack.json", text), file("a/values.yaml", ""), file("a/manifests/._app.yaml", "a: 1"))
	if _, err := pack.ReadArchive(t.Context(), bytes.NewReader(archive)); err == nil || !strings.Contains(err.Error(), `"manifests/._app.yaml" is not in the pack`) {
		t.Errorf("error %v", err)
	}
}
