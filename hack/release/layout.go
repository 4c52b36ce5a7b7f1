package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The manifests of a layout are small; more than this is none.
const maxManifest = 4 << 20

// readLayout returns the digest and the platforms of the image index in an archive of an OCI layout, after every blob in it was
// compared with its name.
func readLayout(file string) (digest string, platforms []string, err error) {
	blobs, err := readBlobs(file)
	if err != nil {
		return "", nil, err
	}
	var root, index v1.Index
	if err := json.Unmarshal(blobs["index.json"], &root); err != nil {
		return "", nil, fmt.Errorf("index.json: %w", err)
	}
	if len(root.Manifests) != 1 {
		return "", nil, fmt.Errorf("index.json lists %d manifests, want one image index", len(root.Manifests))
	}
	digest = root.Manifests[0].Digest.String()
	if err := json.Unmarshal(blobs[digest], &index); err != nil {
		return "", nil, fmt.Errorf("%s: %w", digest, err)
	}
	for _, d := range index.Manifests {
		if d.Platform == nil {
			return "", nil, fmt.Errorf("%s names no platform", d.Digest)
		}
		var manifest v1.Manifest
		if err := json.Unmarshal(blobs[d.Digest.String()], &manifest); err != nil {
			return "", nil, fmt.Errorf("%s: %w", d.Digest, err)
		}
		for _, part := range append(manifest.Layers, manifest.Config) {
			if _, ok := blobs[part.Digest.String()]; !ok {
				return "", nil, fmt.Errorf("%s of %s is missing", part.Digest, d.Digest)
			}
		}
		platforms = append(platforms, d.Platform.OS+"/"+d.Platform.Architecture)
	}
	return digest, platforms, nil
}

// readBlobs reads what an archive of a layout holds: blobs by digest, the rest by name. Of what is too large for a manifest there is
// only that it exists.
func readBlobs(file string) (map[string][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	blobs := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return blobs, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		sum := sha256.New()
		var data []byte
		if h.Size <= maxManifest {
			data, err = io.ReadAll(io.TeeReader(r, sum))
		} else {
			_, err = io.Copy(sum, r)
		}
		if err != nil {
			return nil, err
		}
		name, blob := strings.CutPrefix(h.Name, "blobs/sha256/")
		if blob && name != hex.EncodeToString(sum.Sum(nil)) {
			return nil, fmt.Errorf("%s holds other data than its name says", h.Name)
		}
		if blob {
			name = "sha256:" + name
		}
		blobs[name] = data
	}
}
