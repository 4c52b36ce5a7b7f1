package server

import (
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
)

// checkPack reads the archive of a manifest that is pushed where packs lie, refuses what is no pack, and stores the
// files that consoles show as blobs of their own. Signatures and other artifacts that refer to a pack pass.
func (s *Server) checkPack(r *request, tags []string, d digest.Digest, c *store.Content) ([]store.File, error) {
	name, isPack := strings.CutPrefix(r.repository.Name(), pack.ArchivePrefix)
	mode := s.config.Packs.Validation
	if !isPack || mode == "off" || c.Subject != nil || len(tags) == 1 && strings.HasPrefix(tags[0], "sha256-") {
		return nil, nil
	}
	// What was accepted once may take any other tag.
	if _, err := r.repository.Manifest(r.Context(), d); err == nil {
		return nil, nil
	}
	found, err := s.readPack(r, name, tags, c)
	var invalid *pack.Error
	if errors.As(err, &invalid) && mode == "warn" {
		s.log.Warn("pushed a pack that is not valid", "pack", name, "tags", tags, "violations", invalid.Error())
		err = nil
	}
	if err != nil || found == nil {
		return nil, err
	}
	files := make([]store.File, 0, len(found.Browsable))
	for _, name := range sortedKeys(found.Browsable) {
		data := found.Browsable[name]
		d, err := r.repository.PutBlob(r.Context(), data)
		if err != nil {
			return nil, err
		}
		files = append(files, store.File{Name: name, Digest: d, Size: int64(len(data))})
	}
	return files, nil
}

func (s *Server) readPack(r *request, name string, tags []string, c *store.Content) (*pack.Archive, error) {
	layer, err := archiveLayer(c)
	if err != nil {
		return nil, err
	}
	blob, err := r.repository.Blob(r.Context(), layer.Digest)
	if err != nil {
		return nil, as(codeManifestMissing, err)
	}
	defer blob.Close()
	found, err := pack.ReadArchive(r.Context(), blob)
	if found == nil {
		return nil, err
	}
	var violations []pack.Violation
	var invalid *pack.Error
	if errors.As(err, &invalid) {
		violations = invalid.Violations
	} else if err != nil {
		return nil, err
	}
	if found.Name != "" && found.Name != name {
		violations = append(violations, pack.Violation{Path: "pack.json#/name",
			Message: "is " + quote(found.Name) + ", but the pack is pushed as " + quote(name)})
	}
	if v := checkTag(found, tags); v != nil {
		violations = append(violations, *v)
	}
	if len(violations) > 0 {
		return found, &pack.Error{Violations: violations}
	}
	return found, nil
}

// checkTag compares the tags of a new manifest with its pack.json: its version must be among them.
func checkTag(found *pack.Archive, tags []string) *pack.Violation {
	if len(tags) == 0 || found.Version == "" || slices.Contains(tags, found.Tag()) {
		return nil
	}
	return &pack.Violation{Path: "pack.json#/version",
		Message: "makes the tag " + quote(found.Tag()) + ", but the pack is pushed as " + quote(strings.Join(tags, ", ")) +
			"; push it under its version first, then add other tags"}
}

// archiveLayer is the one layer of a pack's manifest.
func archiveLayer(c *store.Content) (ocispec.Descriptor, error) {
	if len(c.Layers) != 1 {
		return ocispec.Descriptor{}, &pack.Error{Violations: []pack.Violation{{
			Message: "a pack is an image manifest with exactly one layer, its archive"}}}
	}
	return c.Layers[0], nil
}
