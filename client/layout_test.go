package client

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testregistry"
)

// layoutFile is a file of a layout's archive.
type layoutFile struct{ name, text string }

// writeTar writes an archive, whose last bytes may be cut off.
func writeTar(t *testing.T, cut int, files ...layoutFile) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.text)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(f.text))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "layout.tar")
	if err := os.WriteFile(file, b.Bytes()[:b.Len()-cut], 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// testLayout is a layout of one version of pack demo.
func testLayout(entry, manifest, config, layer string) []layoutFile {
	if manifest == "" {
		manifest = fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"x/y","digest":"%s","size":%d},`+
			`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%d}]}`,
			digest.FromString("{}"), 2, digest.FromString("layer"), 5)
	}
	if entry == "" {
		entry = `"annotations":{"org.opencontainers.image.ref.name":"demo/1.0.0"}`
	}
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%d,%s}]}`,
		digest.FromString(manifest), len(manifest), entry)
	return []layoutFile{
		{"oci-layout", layoutVersion}, {"index.json", index}, {blobPath(digest.FromString(manifest)), manifest},
		{blobPath(digest.FromString("{}")), config}, {blobPath(digest.FromString("layer")), layer},
	}
}

// What somebody else made is refused with what is wrong with it, before anything is sent.
func TestHostileLayouts(t *testing.T) {
	t.Parallel()
	good := testLayout("", "", "{}", "layer")
	named := func(name string) []layoutFile {
		return testLayout(`"annotations":{"org.opencontainers.image.ref.name":"`+name+`"}`, "", "{}", "layer")
	}
	loop := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"x/y","digest":"sha256:x","size":2},"layers":[]}`
	huge := strings.Replace(loop, "sha256:x", digest.FromString("{}").String(), 1)
	huge = strings.Replace(huge, `"layers":[]`, fmt.Sprintf(`"layers":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":99999999999}]`, digest.FromString("layer")), 1)
	for name, tt := range map[string]struct {
		file  string
		words string
	}{
		"path":           {writeTar(t, 0, append(good, layoutFile{"../../etc/x", "x"})...), "leads out of the archive"},
		"absolute":       {writeTar(t, 0, append(good, layoutFile{"/etc/x", "x"})...), "leads out of the archive"},
		"twice":          {writeTar(t, 0, append(good, layoutFile{"./index.json", "{}"})...), "twice"},
		"cut":            {writeTar(t, 1900, good...), "cut off"},
		"no layout":      {writeTar(t, 0, layoutFile{"index.json", "{}"}), "not an OCI image layout"},
		"no index":       {writeTar(t, 0, layoutFile{"oci-layout", layoutVersion}), "no index.json"},
		"index":          {writeTar(t, 0, layoutFile{"oci-layout", layoutVersion}, layoutFile{"index.json", "{"}), "index.json"},
		"huge index":     {writeTar(t, 0, layoutFile{"oci-layout", layoutVersion}, layoutFile{"index.json", strings.Repeat(" ", maxLayoutIndex+1)}), "the most"},
		"no tar":         {filepath.Join("testdata", "..", "layout_test.go"), "not a tar archive"},
		"no name":        {writeTar(t, 0, named("1.0.0")...), "which pack it is of"},
		"name":           {writeTar(t, 0, named("Demo/1.0.0")...), "no name of a pack"},
		"parent":         {writeTar(t, 0, named("demo/1.x")...), "no tag"},
		"other config":   {writeTar(t, 0, testLayout("", "", "[]", "layer")...), "another digest"},
		"size":           {writeTar(t, 0, testLayout("", "", "{}", "layers")...), "6 bytes, not 5"},
		"digest":         {writeTar(t, 0, testLayout("", loop, "{}", "layer")...), "sha256:x"},
		"huge manifest":  {writeTar(t, 0, testLayout("", huge, "{}", "layer")...), "bytes"},
		"empty manifest": {writeTar(t, 0, testLayout("", "x", "{}", "layer")...), "invalid"},
	} {
		l, err := openLayout(t.Context(), tt.file)
		if err == nil {
			_, _, err = l.verify(t.Context())
			l.files.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %v, want %q", name, err, tt.words)
		}
	}
	l, err := openLayout(t.Context(), writeTar(t, 0, good...))
	if err != nil {
		t.Fatal(err)
	}
	defer l.files.Close()
	if lacking, _, err := l.verify(t.Context()); err != nil || len(lacking) > 0 {
		t.Errorf("%v, %v", lacking, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := l.verify(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A folder may hold links; none is followed out of it.
func TestALayoutWithALinkOutOfIt(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "index.json")
	if err := errors.Join(os.WriteFile(outside, []byte(`{"manifests":[]}`), 0o600), os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(layoutVersion), 0o600),
		os.Symlink(outside, filepath.Join(dir, "index.json"))); err != nil {
		t.Fatal(err)
	}
	if _, err := openLayout(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Error(err)
	}
}

// A pack that the registry does not take, and a blob that is missing, are refused.
func TestLoadOfWhatIsNoPack(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{PlainHTTP: true})
	c, err := Connect(Server{Host: r.Host, PlainHTTP: true, Username: testregistry.Username, Password: testregistry.Password})
	if err != nil {
		t.Fatal(err)
	}
	good := testLayout("", "", "{}", "layer")
	for _, tt := range []struct {
		files []layoutFile
		words string
	}{{good[:4], "lacks"}, {good, "not a tar archive"}} {
		if _, err := c.Load(t.Context(), writeTar(t, 0, tt.files...), false, func(Copied) {}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%v, want %q", err, tt.words)
		}
	}
}

// A part of any length gives the same bytes.
func TestParts(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789"), 100)
	for _, size := range []int64{1, 7, 10, 999, 1000, 1001} {
		dir := t.TempDir()
		w := &partWriter{dir: dir, size: size}
		for begin := 0; begin < len(want); begin += 33 {
			if _, err := w.Write(want[begin:min(begin+33, len(want))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		p, err := openParts(filepath.Join(dir, "part"))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if n, err := p.ReadAt(got, 0); n != len(want) || err != nil || !bytes.Equal(got, want) || len(p.files) != int((1000+size-1)/size) {
			t.Errorf("%d: %d bytes of %d parts, %v", size, n, len(p.files), err)
		}
		if n, err := p.ReadAt(got[:20], 5); n != 20 || err != nil || string(got[:20]) != "56789012345678901234" {
			t.Errorf("%d: %q, %v", size, got[:n], err)
		}
		p.Close()
	}
}
