package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The two files that record the others. The checksums are of release.json too.
const (
	recordFile    = "release.json"
	checksumsFile = "checksums.txt"
	// signatureFile is made after the checksums, and absent from what nobody signed.
	signatureFile = checksumsFile + ".sigstore.json"
)

// Release is release.json.
type Release struct {
	Version   string     `json:"version"`
	Images    []Image    `json:"images"`
	Artifacts []Artifact `json:"artifacts"`
}

// Image is an image index of the release.
type Image struct {
	Name       string   `json:"name"`
	Repository string   `json:"repository"`
	Digest     string   `json:"digest"`
	Platforms  []string `json:"platforms"`
	Layout     string   `json:"layout"`
}

// Artifact is a file of the release.
type Artifact struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func measure(dir, name string) (Artifact, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return Artifact{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return Artifact{Name: name, Digest: "sha256:" + hex.EncodeToString(h.Sum(nil)), Size: n}, err
}

// record writes release.json and checksums.txt over what a folder holds.
func record(dir string, release Release) error {
	files, err := list(dir)
	if err != nil {
		return err
	}
	for _, a := range files {
		release.Artifacts = append(release.Artifacts, a)
	}
	slices.SortFunc(release.Artifacts, func(a, b Artifact) int { return strings.Compare(a.Name, b.Name) })
	data, err := json.MarshalIndent(release, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, recordFile), append(data, '\n'), 0o644); err != nil {
		return err
	}
	own, err := measure(dir, recordFile)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, checksumsFile), checksums(append(slices.Clone(release.Artifacts), own)), 0o644)
}

// checksums is what sha256sum --check reads.
func checksums(artifacts []Artifact) []byte {
	var out bytes.Buffer
	for _, a := range artifacts {
		fmt.Fprintf(&out, "%s  %s\n", strings.TrimPrefix(a.Digest, "sha256:"), a.Name)
	}
	return out.Bytes()
}

// verify checks that a folder holds what its release.json and checksums.txt record, and nothing else, and that install.yaml names the
// images of the release.
func verify(dir string) (Release, error) {
	var release Release
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return release, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&release); err != nil {
		return release, fmt.Errorf("%s: %w", recordFile, err)
	}
	files, err := list(dir)
	if err != nil {
		return release, err
	}
	found := verifyFiles(dir, release, files)
	for _, image := range release.Images {
		found = errors.Join(found, verifyImage(dir, image))
	}
	return release, found
}

func verifyFiles(dir string, release Release, files map[string]Artifact) error {
	var found error
	recorded := map[string]bool{recordFile: true, checksumsFile: true, signatureFile: true}
	for _, want := range release.Artifacts {
		recorded[want.Name] = true
		got, ok := files[want.Name]
		if !ok {
			found = errors.Join(found, fmt.Errorf("%s is missing", want.Name))
		} else if got != want {
			found = errors.Join(found, fmt.Errorf("%s has %s and %d bytes, recorded are %s and %d", want.Name, got.Digest, got.Size, want.Digest, want.Size))
		}
	}
	for name := range files {
		if !recorded[name] {
			found = errors.Join(found, fmt.Errorf("%s is not part of the release", name))
		}
	}
	sums, err := os.ReadFile(filepath.Join(dir, checksumsFile))
	if err != nil {
		return errors.Join(found, err)
	}
	if !bytes.Equal(sums, checksums(append(slices.Clone(release.Artifacts), files[recordFile]))) {
		found = errors.Join(found, fmt.Errorf("%s is not that of the files that %s records", checksumsFile, recordFile))
	}
	return found
}

// verifyImage checks that a layout holds the index, and that install.yaml names it.
func verifyImage(dir string, image Image) error {
	digest, platforms, err := readLayout(filepath.Join(dir, image.Layout))
	if err != nil {
		return fmt.Errorf("%s: %w", image.Layout, err)
	}
	if digest != image.Digest || !slices.Equal(platforms, image.Platforms) {
		return fmt.Errorf("%s holds %s for %v, recorded is %s for %v", image.Layout, digest, platforms, image.Digest, image.Platforms)
	}
	manifests, err := os.ReadFile(filepath.Join(dir, "install.yaml"))
	if err != nil {
		return err
	}
	if reference := image.Repository + "@" + image.Digest; !bytes.Contains(manifests, []byte(reference)) {
		return fmt.Errorf("install.yaml does not name %s", reference)
	}
	return nil
}
