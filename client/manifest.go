package client

import (
	"encoding/json"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"packregistry.dev/pack"
)

// emptyConfig is the config of every pack's manifest.
const emptyConfig = "{}"

var configDescriptor = ocispec.Descriptor{
	MediaType: pack.ConfigMediaType, Digest: digest.FromString(emptyConfig), Size: int64(len(emptyConfig)),
}

// writeArchive writes the pack's archive to a temporary file that has no name any more, so nothing can be left behind.
func writeArchive(d *pack.Directory) (*os.File, ocispec.Descriptor, error) {
	f, err := os.CreateTemp("", "pack-")
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	os.Remove(f.Name())
	hash := digest.Canonical.Digester()
	if err := d.WriteArchive(io.MultiWriter(f, hash.Hash())); err != nil {
		f.Close()
		return nil, ocispec.Descriptor{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, ocispec.Descriptor{}, err
	}
	return f, ocispec.Descriptor{
		MediaType: pack.ArchiveMediaType, Digest: hash.Digest(), Size: size,
		Annotations: map[string]string{ocispec.AnnotationTitle: d.ArchiveName()},
	}, nil
}

// manifestOf is the OCI 1.0 image manifest of a version. It carries no time, so that the same pack has the same digest.
func manifestOf(layer ocispec.Descriptor, message string) ([]byte, ocispec.Descriptor, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: configDescriptor, Layers: []ocispec.Descriptor{layer},
	}
	if message != "" {
		m.Annotations = map[string]string{annotationMessage: message}
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	return text, content.NewDescriptorFromBytes(m.MediaType, text), nil
}
