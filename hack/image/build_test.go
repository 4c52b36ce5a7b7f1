package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func newBuilder(target string) *builder {
	return &builder{dockerfile: "../../Dockerfile", context: "../..", target: target, version: "test", arch: defaultArch}
}

// contents lists the files of an image with their modes.
func contents(t *testing.T, image v1.Image) map[string]int64 {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		archive := tar.NewReader(r)
		for {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				found[h.Name] = h.Mode
			}
		}
		r.Close()
	}
	return found
}

func TestImages(t *testing.T) {
	for _, tt := range []struct {
		target     string
		files      map[string]int64
		user       string
		entrypoint []string
		cmd        []string
	}{
		// No user: documented `docker run` lines mount files that only root can read.
		{"registry", map[string]int64{"registry": 0o755, "etc/spectro/config.yml": 0o644}, "", []string{"/registry"}, []string{"serve", "/etc/spectro/config.yml"}},
		{"operator", map[string]int64{"operator": 0o755}, "65532:65532", []string{"/operator"}, nil},
	} {
		t.Run(tt.target, func(t *testing.T) {
			image, err := newBuilder(tt.target).build(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := contents(t, image); !reflect.DeepEqual(got, tt.files) {
				t.Errorf("holds %v, want %v", got, tt.files)
			}
			file, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			c := file.Config
			if c.User != tt.user || !slices.Equal(c.Entrypoint, tt.entrypoint) || !slices.Equal(c.Cmd, tt.cmd) {
				t.Errorf("user %q, entrypoint %v, cmd %v", c.User, c.Entrypoint, c.Cmd)
			}
			again, err := newBuilder(tt.target).build(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			first, err1 := image.Digest()
			second, err2 := again.Digest()
			if err := errors.Join(err1, err2); err != nil || first != second {
				t.Errorf("built twice: %s and %s, %v", first, second, err)
			}
		})
	}
}

func TestWhatCannotBeBuiltIsRefusedByName(t *testing.T) {
	for text, words := range map[string]string{
		"FROM debian AS x\n":                              "begins with debian",
		"FROM scratch AS x\nRUN true\n":                   "RUN cannot be done",
		"FROM scratch AS y\n":                             `no stage "x"`,
		"FROM scratch AS x\nCOPY --from=b /bin/sh /sh\n":  "lie in /out",
		"FROM scratch AS x\nCOPY --from=b /out/p /p\n":    `no stage "b"`,
		"FROM a AS b\nFROM scratch AS x\nCOPY a b c/\n":   "one file at a time",
		"FROM a AS b\nFROM scratch AS x\nNONSENSE true\n": "NONSENSE",
	} {
		file := filepath.Join(t.TempDir(), "Dockerfile")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b := newBuilder("x")
		b.dockerfile = file
		if _, err := b.build(t.Context()); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want %q", text, err, words)
		}
	}
}
