package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func (c *cluster) ctr(ctx context.Context, args ...string) error {
	return run(c.ctrOn(ctx, c.node1(), args...))
}

func (c *cluster) ctrOn(ctx context.Context, n node, args ...string) *exec.Cmd {
	return c.inside(ctx, c.bin("ctr"), append([]string{"--address", n.path("run", "containerd.sock"), "--namespace", "k8s.io"}, args...)...)
}

// copyImages gives one node what the other has.
func (c *cluster) copyImages(ctx context.Context, from, to node) error {
	list, err := c.ctrOn(ctx, from, "images", "list", "-q").Output()
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	archive := to.path("images.tar")
	defer os.Remove(archive)
	if err := run(c.ctrOn(ctx, from, append([]string{"images", "export", "--local", archive}, strings.Fields(string(list))...)...)); err != nil {
		return err
	}
	if err := run(c.ctrOn(ctx, to, "images", "import", "--local", "--digests=false", archive)); err != nil {
		return err
	}
	return run(c.ctrOn(ctx, to, "images", "label", pauseImage, "io.cri-containerd.pinned=pinned"))
}

// load imports images, so that pods can use them with imagePullPolicy Never or IfNotPresent.
func (c *cluster) load(ctx context.Context, archives []string) error {
	if !c.running() {
		return fmt.Errorf("the cluster does not run; start it with: cluster up")
	}
	for _, archive := range archives {
		if err := c.ctr(ctx, "images", "import", "--local", "--digests=false", archive); err != nil {
			return fmt.Errorf("load %s: %w", archive, err)
		}
		say("loaded %s", archive)
	}
	return nil
}

// loadPause makes the image that holds a pod's namespaces open, of our own static binary, and loads it.
func (c *cluster) loadPause(ctx context.Context) error {
	if c.ctr(ctx, "images", "label", pauseImage, "io.cri-containerd.pinned=pinned") == nil {
		return nil
	}
	binary, err := os.ReadFile(c.bin("pause"))
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		return err
	}
	if _, err := w.Write(binary); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer.Bytes(), types.DockerUncompressedLayer))
	if err != nil {
		return err
	}
	if image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux",
		Config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"},
		RootFS: rootFS(image),
	}); err != nil {
		return err
	}
	tag, err := name.NewTag(pauseImage)
	if err != nil {
		return err
	}
	archive := c.path("tmp", "pause.tar")
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		return err
	}
	return c.ctr(ctx, "images", "import", "--local", archive)
}

func rootFS(image v1.Image) v1.RootFS {
	config, err := image.ConfigFile()
	if err != nil {
		return v1.RootFS{Type: "layers"}
	}
	return config.RootFS
}
