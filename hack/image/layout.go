package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// The annotations by which skopeo and oras, and containerd, find an image in a layout.
const (
	referenceAnnotation  = "org.opencontainers.image.ref.name"
	containerdAnnotation = "io.containerd.image.name"
)

// platformIndex lists images of one program, one a platform.
func platformIndex(images []v1.Image, version string) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture}}})
	}
	annotated := mutate.Annotations(index, map[string]string{"org.opencontainers.image.version": version})
	return annotated.(v1.ImageIndex), nil
}

// writeLayout writes an OCI layout that holds one index as a tar archive: sorted, without times or owners.
func writeLayout(file string, index v1.ImageIndex, name, tag string) error {
	dir, err := os.MkdirTemp("", "layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{referenceAnnotation: tag, containerdAnnotation: name + ":" + tag})); err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(packFolder(out, dir), out.Close())
}

func packFolder(out io.Writer, dir string) error {
	w := tar.NewWriter(out)
	// WalkDir goes in the order of names.
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		}
		return writeFile(w, name, path)
	})
	return errors.Join(err, w.Close())
}

// readLayout returns the one index of an OCI layout, which is a folder or a tar archive of it, after every digest in it was checked. What it
// reads lies in the folder that is returned with it, for the caller to remove, where it was an archive.
func readLayout(source string) (index v1.ImageIndex, extracted string, err error) {
	info, err := os.Stat(source)
	if err != nil {
		return nil, "", err
	}
	dir := source
	if !info.IsDir() {
		if extracted, err = os.MkdirTemp("", "layout-"); err != nil {
			return nil, "", err
		}
		dir = extracted
		if err := extract(source, dir); err != nil {
			return nil, extracted, err
		}
	}
	path, err := layout.FromPath(dir)
	if err != nil {
		return nil, extracted, err
	}
	root, err := path.ImageIndex()
	if err != nil {
		return nil, extracted, err
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		return nil, extracted, err
	}
	if len(manifest.Manifests) != 1 || !manifest.Manifests[0].MediaType.IsIndex() {
		return nil, extracted, fmt.Errorf("%s: want a layout of one image index, and it lists %d manifests", source, len(manifest.Manifests))
	}
	if index, err = root.ImageIndex(manifest.Manifests[0].Digest); err != nil {
		return nil, extracted, err
	}
	if err := validate.Index(index); err != nil {
		return nil, extracted, fmt.Errorf("%s: %w", source, err)
	}
	return index, extracted, nil
}

// isLayout says whether an archive is of an OCI layout; others are of docker save.
func isLayout(file string) (bool, error) {
	if info, err := os.Stat(file); err != nil || info.IsDir() {
		return err == nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", file, err)
		}
		if h.Name == "oci-layout" {
			return true, nil
		}
	}
}

// extract unpacks an archive of a layout. os.Root keeps names that lead elsewhere out.
func extract(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		name := filepath.FromSlash(strings.TrimSuffix(h.Name, "/"))
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = extractFile(root, name, r)
		default:
			err = errors.New("neither a file nor a folder")
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, h.Name, err)
		}
	}
}

func extractFile(root *os.Root, name string, from io.Reader) error {
	out, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return errors.Join(err, out.Close())
}
