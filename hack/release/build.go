package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// programs are built for the platforms named.
var programs = []struct {
	name      string
	platforms []string
}{
	{"registry", []string{"linux/amd64", "linux/arm64"}},
	{"operator", []string{"linux/amd64", "linux/arm64"}},
	{"packctl", []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}},
}

// builder makes one release.
type builder struct {
	version, source, output, repository string
	image, kubectl, sbom                string
	// platforms limits what is built; empty is all.
	platforms []string
	// work holds what goes into archives.
	work string
}

func (b *builder) build(ctx context.Context) (err error) {
	if _, err := semver.StrictNewVersion(b.version); err != nil {
		return fmt.Errorf("--version %s: %w (such as 1.2.3)", b.version, err)
	}
	if entries, err := os.ReadDir(b.output); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s holds files already: remove them first", b.output)
	}
	if err := os.MkdirAll(b.output, 0o755); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("", "release-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	for _, p := range programs {
		for _, platform := range p.platforms {
			if err := b.program(ctx, p.name, platform); err != nil {
				return err
			}
		}
	}
	release := Release{Version: b.version}
	for _, name := range []string{"registry", "operator"} {
		image, err := b.buildImage(ctx, name)
		if err != nil {
			return err
		}
		release.Images = append(release.Images, image)
	}
	if err := b.installation(ctx, release.Images); err != nil {
		return err
	}
	return record(b.output, release)
}

func (b *builder) wants(platform string) bool {
	return len(b.platforms) == 0 || slices.Contains(b.platforms, platform)
}

// run runs a program in the sources, with the environment of a build.
func (b *builder) run(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = b.source
	// The state of version control differs between a checkout and a copy of it.
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false", "GOPROXY=off"), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
	}
	return out, nil
}

func (b *builder) compile(ctx context.Context, name, platform string) (string, error) {
	goos, goarch, _ := strings.Cut(platform, "/")
	target := filepath.Join(b.work, strings.ReplaceAll(platform, "/", "_"), name)
	if goos == "windows" {
		target += ".exe"
	}
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	flags := "-s -w -X packregistry.dev/server.Version=" + b.version + " -X main.version=" + b.version
	_, err := b.run(ctx, []string{"GOOS=" + goos, "GOARCH=" + goarch}, "go", "build", "-ldflags", flags, "-o", target, "./cmd/"+name)
	return target, err
}

// program makes the archive and the SBOM of one program for one platform.
func (b *builder) program(ctx context.Context, name, platform string) error {
	if !b.wants(platform) {
		return nil
	}
	compiled, err := b.compile(ctx, name, platform)
	if err != nil {
		return err
	}
	files := []file{
		{name: filepath.Base(compiled), source: compiled, executable: true},
		{name: "LICENSE", source: filepath.Join(b.source, "LICENSE")},
	}
	if name == "packctl" {
		more, err := b.completions(ctx)
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	full := fmt.Sprintf("%s_%s_%s", name, b.version, strings.ReplaceAll(platform, "/", "_"))
	end := ".tar.gz"
	if strings.HasPrefix(platform, "windows/") {
		end = ".zip"
	}
	if err := writeArchive(filepath.Join(b.output, full+end), files); err != nil {
		return err
	}
	return b.listModules(ctx, compiled, full)
}

// listModules writes a CycloneDX list of the modules in a program. An image holds one program and a default configuration, so the
// program's list is the image's.
func (b *builder) listModules(ctx context.Context, compiled, full string) error {
	out, err := b.run(ctx, nil, b.sbom, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", "v"+b.version, compiled)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.output, full+".cdx.json"), out, 0o644)
}

// completions makes packctl's completions and man pages, with a packctl that runs here.
func (b *builder) completions(ctx context.Context) ([]file, error) {
	packctl, err := b.compile(ctx, "packctl", runtime.GOOS+"/"+runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	var files []file
	dir := filepath.Join(b.work, "documents")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		out, err := b.run(ctx, nil, packctl, "completion", shell)
		if err != nil {
			return nil, err
		}
		source := filepath.Join(dir, shell)
		if err := os.WriteFile(source, out, 0o644); err != nil {
			return nil, err
		}
		files = append(files, file{name: "completions/packctl." + shell, source: source})
	}
	man := filepath.Join(dir, "man")
	// The date of a man page is that of the build, but for this.
	if _, err := b.run(ctx, []string{"SOURCE_DATE_EPOCH=315532800"}, packctl, "docs", "--man", man); err != nil {
		return nil, err
	}
	pages, err := os.ReadDir(man)
	if err != nil {
		return nil, err
	}
	for _, p := range pages {
		files = append(files, file{name: "man/man1/" + p.Name(), source: filepath.Join(man, p.Name())})
	}
	return files, nil
}

func (b *builder) buildImage(ctx context.Context, name string) (Image, error) {
	image := Image{Name: name, Repository: b.repository + "/" + name, Layout: fmt.Sprintf("%s_%s_image.oci.tar", name, b.version)}
	var archs []string
	for _, arch := range []string{"amd64", "arm64"} {
		if b.wants("linux/" + arch) {
			archs = append(archs, arch)
			image.Platforms = append(image.Platforms, "linux/"+arch)
		}
	}
	layout, err := filepath.Abs(filepath.Join(b.output, image.Layout))
	if err != nil {
		return image, err
	}
	out, err := b.run(ctx, nil, b.image, "build", "--target", name, "--version", b.version, "--arch", strings.Join(archs, ","),
		"--tag", image.Repository+":"+b.version, "--layout", layout)
	image.Digest = string(bytes.TrimSpace(out))
	return image, err
}
