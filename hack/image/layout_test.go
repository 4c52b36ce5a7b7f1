package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// layoutOf writes a layout of a small Dockerfile's image for two architectures.
func layoutOf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{"Dockerfile": "FROM scratch AS x\nCOPY data /data\n", "data": "some data\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "x.oci.tar")
	b := builder{dockerfile: filepath.Join(dir, "Dockerfile"), context: dir, target: "x", version: "1.2.3"}
	if err := buildLayout(t.Context(), b, []string{"amd64", "arm64"}, file, "example.com/x:1.2.3"); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLayoutIsPushedWithEveryArchitecture(t *testing.T) {
	file := layoutOf(t)
	first, err1 := os.ReadFile(file)
	second, err2 := os.ReadFile(layoutOf(t))
	if err1 != nil || err2 != nil || !bytes.Equal(first, second) {
		t.Errorf("two layouts of the same sources differ (%v, %v)", err1, err2)
	}
	server := httptest.NewServer(registry.New())
	defer server.Close()
	where := strings.TrimPrefix(server.URL, "http://") + "/a/x:1.2.3"
	command := pushCommand()
	command.SetArgs([]string{file, where})
	if err := command.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	reference, err := name.ParseReference(where)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Index(reference)
	if err != nil {
		t.Fatal(err)
	}
	local, extracted, err := readLayout(file)
	defer os.RemoveAll(extracted)
	if err != nil {
		t.Fatal(err)
	}
	want, err1 := local.Digest()
	got, err2 := pushed.Digest()
	if err1 != nil || err2 != nil || want != got {
		t.Errorf("pushed %s of %s (%v, %v)", got, want, err1, err2)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := remote.Image(reference, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Errorf("%s: %v", arch, err)
			continue
		}
		if config, err := image.ConfigFile(); err != nil || config.Architecture != arch {
			t.Errorf("asked for %s: %v, %v", arch, config, err)
		}
	}
}

func TestDamagedLayoutIsNotPushed(t *testing.T) {
	file := layoutOf(t)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte(`"architecture":"arm64"`))
	if at < 0 {
		t.Fatal("the configuration of arm64 is not found")
	}
	copy(data[at:], `"architecture":"arm65"`)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, extracted, err := readLayout(file)
	os.RemoveAll(extracted)
	if err == nil {
		t.Error("a layout with a changed byte was accepted")
	}
}
