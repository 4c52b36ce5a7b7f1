package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const defaultArch = runtime.GOARCH

// outDir is where the build stage puts its results, by the Dockerfile's ARG OUT.
const outDir = "/out"

// builder builds one stage of a Dockerfile.
type builder struct {
	dockerfile, context, target, version, arch string
	// out stands for outDir on this machine.
	out string
}

func (b *builder) build(ctx context.Context) (v1.Image, error) {
	stages, err := parse(b.dockerfile)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(stages, func(s instructions.Stage) bool { return s.Name == b.target })
	if i < 0 {
		return nil, fmt.Errorf("%s has no stage %q", b.dockerfile, b.target)
	}
	if b.out, err = os.MkdirTemp("", "image-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(b.out)
	return b.assemble(ctx, stages, stages[i])
}

func parse(file string) ([]instructions.Stage, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	parsed, err := parser.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return stages, nil
}

// assemble makes the image that a last stage describes.
func (b *builder) assemble(ctx context.Context, stages []instructions.Stage, stage instructions.Stage) (v1.Image, error) {
	if stage.BaseName != "scratch" {
		return nil, fmt.Errorf("stage %s begins with %s: only scratch can be built here", stage.Name, stage.BaseName)
	}
	config := v1.Config{}
	files := map[string]string{} // place in the image → file on this machine
	for _, command := range stage.Commands {
		switch c := command.(type) {
		case *instructions.LabelCommand:
			if config.Labels == nil {
				config.Labels = map[string]string{}
			}
			for _, l := range c.Labels {
				config.Labels[l.Key] = strings.Trim(l.Value, `"`)
			}
		case *instructions.CopyCommand:
			source, err := b.source(ctx, stages, c)
			if err != nil {
				return nil, err
			}
			files[c.DestPath] = source
		case *instructions.ExposeCommand:
			config.ExposedPorts = map[string]struct{}{}
			for _, p := range c.Ports {
				config.ExposedPorts[p+"/tcp"] = struct{}{}
			}
		case *instructions.UserCommand:
			config.User = c.User
		case *instructions.EntrypointCommand:
			config.Entrypoint = c.CmdLine
		case *instructions.CmdCommand:
			config.Cmd = c.CmdLine
		default:
			return nil, fmt.Errorf("stage %s: %s cannot be done without a container engine", stage.Name, command.Name())
		}
	}
	layer, err := layerOf(files)
	if err != nil {
		return nil, err
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: types.OCILayer}); err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Config = b.arch, "linux", config
	return mutate.ConfigFile(image, file)
}

// source finds the file that COPY names: in the sources, or made by the stage that builds.
func (b *builder) source(ctx context.Context, stages []instructions.Stage, c *instructions.CopyCommand) (string, error) {
	if len(c.SourcePaths) != 1 {
		return "", fmt.Errorf("COPY %v: one file at a time", c.SourcePaths)
	}
	if c.From == "" {
		return filepath.Join(b.context, c.SourcePaths[0]), nil
	}
	result, ok := strings.CutPrefix(c.SourcePaths[0], outDir+"/")
	if !ok {
		return "", fmt.Errorf("COPY --from=%s %s: results of the build lie in %s", c.From, c.SourcePaths[0], outDir)
	}
	i := slices.IndexFunc(stages, func(s instructions.Stage) bool { return s.Name == c.From })
	if i < 0 {
		return "", fmt.Errorf("there is no stage %q", c.From)
	}
	return filepath.Join(b.out, result), b.runFor(ctx, stages[i], result)
}

// runFor runs the command of the build stage that makes a result.
func (b *builder) runFor(ctx context.Context, stage instructions.Stage, result string) error {
	for _, command := range stage.Commands {
		c, ok := command.(*instructions.RunCommand)
		if !ok || !strings.Contains(strings.Join(c.CmdLine, " "), "${OUT}/"+result) {
			continue
		}
		cmd := exec.CommandContext(ctx, "sh", "-ec", strings.Join(c.CmdLine, " "))
		cmd.Dir = b.context
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		cmd.Env = append(os.Environ(), "OUT="+b.out, "VERSION="+b.version, "GOOS=linux", "GOARCH="+b.arch)
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(c.CmdLine, " "), err)
		}
		return nil
	}
	return fmt.Errorf("stage %s has no RUN that makes ${OUT}/%s", stage.Name, result)
}

// layerOf packs files, sorted, without times or owners.
func layerOf(files map[string]string) (v1.Layer, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	made := map[string]bool{}
	var places []string
	for place := range files {
		places = append(places, place)
	}
	slices.Sort(places)
	for _, place := range places {
		if err := writeParents(w, place, made); err != nil {
			return nil, err
		}
		if err := writeFile(w, place, files[place]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

func writeParents(w *tar.Writer, place string, made map[string]bool) error {
	dir := path.Dir(place)
	if dir == "/" || made[dir] {
		return nil
	}
	if err := writeParents(w, dir, made); err != nil {
		return err
	}
	made[dir] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: 0o755})
}

func writeFile(w *tar.Writer, place, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New(source + " is no regular file")
	}
	mode := int64(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(place, "/"), Mode: mode, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
