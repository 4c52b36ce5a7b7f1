package server

import (
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
)

// checkedPack is what the check of a pushed manifest found out.
type checkedPack struct {
	// version is the tag that the manifest's pack.json makes; empty where the archive was not validated.
	version string
	// files of the pack that are blobs of their own.
	files []store.File
	// unrecorded says that the manifest is there already, without a record of its validation, or of these files.
	unrecorded bool
}

// checkPack reads the archive of a manifest that is pushed where packs lie, refuses what is no pack and tags that are not
// the pack's, and stores the files that consoles show as blobs of their own. What is pushed as a signature or the like
// passes, but then it is given no other tag.
func (s *Server) checkPack(r *request, tags []string, d digest.Digest, c *store.Content) (checkedPack, error) {
	name, isPack := strings.CutPrefix(r.repository.Name(), pack.ArchivePrefix)
	mode := s.config.Packs.Validation
	if !isPack || mode == "off" {
		return checkedPack{}, nil
	}
	named := slices.DeleteFunc(slices.Clone(tags), pack.IsSignatureTag)
	if len(named) == 0 && (c.Subject != nil || len(tags) > 0) {
		return checkedPack{}, nil
	}
	found, err := s.validatePack(r, name, named, d, c)
	var invalid *pack.Error
	if errors.As(err, &invalid) && mode == "warn" {
		s.log.Warn("pushed a pack that is not valid", "pack", name, "tags", tags, "violations", invalid.Error())
		return checkedPack{}, nil
	}
	return found, err
}

// validatePack validates a manifest as a version of a pack, unless it was before, and compares its tags with it.
func (s *Server) validatePack(r *request, name string, tags []string, d digest.Digest, c *store.Content) (checkedPack, error) {
	known, err := r.repository.Head(r.Context(), d)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return checkedPack{}, err
	}
	stored := err == nil
	validated := stored && known.Pack != ""
	if validated {
		if err := pack.AsError(checkTags(known.Pack, tags)); err != nil {
			return checkedPack{}, err
		}
		there, err := hasFiles(r, known.Files)
		if err != nil || there {
			// With what is known of it, in case that it is deleted in this very moment.
			return checkedPack{version: known.Pack, files: known.Files}, err
		}
		// The client cannot bring these files, since they are the server's own; the archive has them.
	}
	if c.Subject != nil && !validated {
		return checkedPack{}, pack.AsError([]pack.Violation{{Message: "it has a subject, so it is something about another manifest and no version of a pack; " +
			"push it by its digest, or under a tag sha256-<digest of the subject>"}})
	}
	found, err := s.readPack(r, name, c)
	if err != nil {
		return checkedPack{}, err
	}
	version := found.Tag()
	violations := checkTags(version, tags)
	if !stored && len(tags) > 0 && len(violations) == 0 && !slices.Contains(tags, version) {
		violations = []pack.Violation{{Path: "pack.json#/version", Message: "makes the tag " + quote(version) + ", but the pack is pushed as " +
			quote(strings.Join(tags, ", ")) + "; push it under its version first, then add other tags"}}
	}
	if len(violations) > 0 {
		return checkedPack{}, pack.AsError(violations)
	}
	files, err := s.browsable(r, c.Layers[0].Digest, found)
	return checkedPack{version: version, files: files, unrecorded: stored}, err
}

// hasFiles says whether all files of a pack are in the repository.
func hasFiles(r *request, files []store.File) (bool, error) {
	for _, file := range files {
		if there, err := r.repository.HasBlob(r.Context(), file.Digest); err != nil || !there {
			return false, err
		}
	}
	return true, nil
}

// maxPuts is how many files of one pack are stored at once.
const maxPuts = 4

// browsable stores the files of a pack that consoles show, and the list of all files.
func (s *Server) browsable(r *request, archive digest.Digest, found *pack.Archive) ([]store.File, error) {
	names := sortedKeys(found.Browsable)
	files := make([]store.File, len(names)+1)
	group, ctx := errgroup.WithContext(r.Context())
	group.SetLimit(maxPuts)
	for i, name := range names {
		group.Go(func() error {
			data := found.Browsable[name]
			d, err := r.repository.PutBlob(ctx, data)
			files[i] = store.File{Name: name, Digest: d, Size: int64(len(data))}
			return err
		})
	}
	group.Go(func() (err error) {
		files[len(names)], err = putFileList(ctx, r.repository, archive, found.Files)
		return err
	})
	return files, group.Wait()
}

// readPack reads the archive of a pack, which must be valid and of that name.
func (s *Server) readPack(r *request, name string, c *store.Content) (*pack.Archive, error) {
	layer, err := archiveLayer(c)
	if err != nil {
		return nil, err
	}
	done, err := place(r, s.validations, "http.limits.unpacks")
	if err != nil {
		return nil, err
	}
	defer done()
	blob, err := r.repository.Blob(r.Context(), layer.Digest)
	if err != nil {
		return nil, as(codeManifestMissing, err)
	}
	defer blob.Close()
	task, err := s.begin(r)
	if err != nil {
		return nil, err
	}
	defer task.End()
	found, err := pack.ReadArchive(r.Context(), task.Reader(blob))
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
	if len(violations) > 0 {
		return nil, pack.AsError(violations)
	}
	if len(found.Warnings) > 0 {
		s.log.Info("pushed a pack that could be better", "pack", name, "version", found.Tag(), "warnings", (&pack.Error{Violations: pack.Readable(found.Warnings)}).Lines())
	}
	return found, nil
}

// checkTags says which tags claim to be versions that a pack is not.
func checkTags(version string, tags []string) []pack.Violation {
	var violations []pack.Violation
	for _, tag := range tags {
		if tag != version && pack.IsVersionTag(tag) {
			violations = append(violations, pack.Violation{Path: "pack.json#/version", Message: "makes the tag " + quote(version) +
				", so the pack cannot be tagged " + quote(tag) + ", which reads as another version; names that are no versions are free"})
		}
	}
	return violations
}

// archiveLayer is the one layer of a pack's manifest.
func archiveLayer(c *store.Content) (ocispec.Descriptor, error) {
	if len(c.Layers) != 1 {
		return ocispec.Descriptor{}, &pack.Error{Violations: []pack.Violation{{
			Message: "a pack is an image manifest with exactly one layer, its archive"}}}
	}
	return c.Layers[0], nil
}
