package server

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/pack"
	"packregistry.dev/server/internal/packtags"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/internal/transfer"
	"packregistry.dev/server/store"
)

// forceHeader lets an existing tag of a pack be moved.
const forceHeader = "Packregistry-Force"

// findHead finds the manifest that a reference (tag or digest) names. The content of a large one is not read.
func findHead(r *request) (*store.Manifest, error) {
	if strings.Contains(r.param, ":") {
		d, err := parseDigest(r.param)
		if err != nil {
			return nil, err
		}
		m, err := r.repository.Head(r.Context(), d)
		return m, as(codeManifestUnknown, err)
	}
	if !store.ValidTag(r.param) {
		return nil, fail(codeTagInvalid, "%q", r.param)
	}
	tag := r.param
	if r.api == "v1" && pack.IsParentTag(tag) {
		m, err := packtags.Of{Repository: r.repository}.Below(r.Context(), tag, r.repository.TaggedHead)
		if !errors.Is(err, store.ErrNotFound) {
			return m, err
		}
	}
	m, err := r.repository.TaggedHead(r.Context(), tag)
	return m, as(codeManifestUnknown, err)
}

func (s *Server) getManifest(w http.ResponseWriter, r *request) error {
	find := s.findHeld
	if r.Method == http.MethodHead {
		find = func(r *request) (*store.Manifest, func(), error) {
			m, err := findHead(r)
			return m, func() {}, err
		}
	}
	m, done, err := find(r)
	if err != nil {
		return err
	}
	defer done()
	h := w.Header()
	values := []string{m.MediaType, m.Digest.String(), `"` + m.Digest.String() + `"`, strconv.FormatInt(m.Size, 10)}
	h["Content-Type"], h["Docker-Content-Digest"], h["Etag"] = values[0:1:1], values[1:2:2], values[2:3:3]
	if !isManifestType(m.MediaType) {
		h["Content-Type"], h["Content-Disposition"] = octetStream, attachment
	}
	if len(r.Header["Range"]) > 0 || len(r.Header["If-None-Match"]) > 0 || len(r.Header["If-Match"]) > 0 {
		transfer.ServeContent(w, r.Request, time.Time{}, m.Size, io.NewSectionReader(bytes.NewReader(m.Content), 0, m.Size))
		return nil
	}
	h["Content-Length"] = values[3:]
	if r.Method == http.MethodHead {
		return nil
	}
	if len(m.Content) > smallManifest {
		return transfer.CopyPaced(w, bytes.NewReader(m.Content), nil)
	}
	_, err = w.Write(m.Content)
	return err
}

// identify returns the digest of a pushed manifest, which is the one that its client named, if it did.
func identify(text []byte, named digest.Digest) (digest.Digest, error) {
	if named == "" {
		return digest.FromBytes(text), nil
	}
	if found := named.Algorithm().FromBytes(text); found != named {
		return "", fail(codeDigestInvalid, "said to be %s, is %s", named, found)
	}
	return named, nil
}

// parseManifest takes a pushed manifest apart, and refuses what is not understood.
func parseManifest(r *request, text []byte) (mediaType string, c *store.Content, err error) {
	if header := r.Header.Get("Content-Type"); header != "" {
		if mediaType, _, err = mime.ParseMediaType(header); err != nil {
			return "", nil, fail(codeManifestInvalid, "Content-Type %.100q: %v", header, err)
		}
	} else {
		if mediaType, _, err = store.DeclaredMediaType(text); err != nil {
			return "", nil, fail(codeManifestInvalid, "%w", err)
		}
		if mediaType == "" {
			return "", nil, fail(codeManifestInvalid, "neither Content-Type nor mediaType says what this is")
		}
	}
	if c, err = store.ParseManifest(mediaType, text); err != nil {
		return "", nil, fail(codeManifestInvalid, "%w", err)
	}
	if c.Subject != nil && !store.SupportedDigest(c.Subject.Digest) {
		return "", nil, fail(codeManifestInvalid, "its subject has the digest %.150q, which is malformed", c.Subject.Digest)
	}
	return mediaType, c, nil
}

// referenced is what a manifest names, as it is in the repository at this moment.
type referenced struct {
	blobs, manifests []digest.Digest
	missing          []ocispec.Descriptor
}

// maxMissing is how much of what a manifest lacks is reported at once.
const maxMissing = 100

// resolve finds what a manifest names. What it names often is looked for once; and where something is missing, which is not
// accepted, not everything is.
func resolve(r *request, refs []store.Reference, accept bool) (found referenced, err error) {
	type place struct {
		digest digest.Digest
		kind   store.ReferenceKind
	}
	seen := map[place]bool{}
	for _, ref := range refs {
		at := place{ref.Digest, ref.Kind}
		if seen[at] {
			continue
		}
		seen[at] = true
		if err := r.Context().Err(); err != nil { // not every storage looks
			return found, err
		}
		blob, manifest, err := lookUp(r, ref)
		switch {
		case err != nil:
			return found, err
		case ref.Optional && !blob && !manifest:
			continue
		case !blob && !manifest:
			if found.missing = append(found.missing, ref.Descriptor); !accept && len(found.missing) == maxMissing {
				return found, nil
			}
		}
		if ref.Kind == store.ToBlob || blob {
			found.blobs = append(found.blobs, ref.Digest)
		}
		if ref.Kind == store.ToManifest || manifest {
			found.manifests = append(found.manifests, ref.Digest)
		}
	}
	return found, nil
}

// shorten leaves of descriptors what identifies them.
func shorten(list []ocispec.Descriptor) []ocispec.Descriptor {
	short := make([]ocispec.Descriptor, len(list))
	for i, d := range list {
		short[i] = ocispec.Descriptor{MediaType: telemetry.Clip(d.MediaType), Digest: d.Digest, Size: d.Size}
	}
	return short
}

// lookUp says as what a repository holds the thing that a manifest names.
func lookUp(r *request, ref store.Reference) (blob, manifest bool, err error) {
	if ref.Kind != store.ToManifest {
		if blob, err = r.repository.HasBlob(r.Context(), ref.Digest); err != nil {
			return false, false, err
		}
	}
	if ref.Kind != store.ToBlob {
		manifest, err = r.repository.HasManifest(r.Context(), ref.Digest)
	}
	return blob, manifest, err
}

// maxTags bounds how many tags one push can set.
const maxTags = 10

func (s *Server) putManifest(w http.ResponseWriter, r *request) error {
	tags, d, err := putReference(r)
	if err != nil {
		return err
	}
	text, done, err := s.readManifest(w, r)
	if err != nil {
		return err
	}
	defer done()
	d, mediaType, c, err := s.parse(r, text, d)
	if err != nil {
		return err
	}
	accept := s.config.Manifests.Missing == "accept"
	named, err := resolve(r, c.References(), accept)
	if err != nil {
		return err
	}
	if len(named.missing) > 0 && !accept {
		return fail(codeManifestMissing, "").with(shorten(named.missing))
	}
	checked, err := s.checkPack(r, tags, d, c)
	if err != nil {
		return err
	}
	p := store.PutManifest{Digest: d, MediaType: mediaType, Content: text, By: r.user, Files: checked.files, Pack: checked.version,
		Blobs: named.blobs, Manifests: named.manifests, AcceptMissing: accept}
	if c.Subject != nil {
		p.Subject = c.Subject.Digest
		if p.Referrer, err = c.Referrer(mediaType, d, len(text)); err != nil {
			return fail(codeManifestInvalid, "%w", err)
		}
		w.Header().Set("OCI-Subject", p.Subject.String())
	}
	if err := r.repository.PutManifest(r.Context(), p); err != nil {
		return as(codeManifestMissing, err)
	}
	if checked.unrecorded {
		if err := r.repository.RecordPack(r.Context(), d, checked.version, checked.files); err != nil {
			return as(codeManifestUnknown, err)
		}
	}
	move := r.api == "v2" || strings.EqualFold(r.Header.Get(forceHeader), "true")
	for _, tag := range tags {
		if err := r.repository.Tag(r.Context(), tag, d, r.user, move); err != nil {
			return err
		}
		if strings.Contains(r.param, ":") {
			w.Header().Add("OCI-Tag", tag)
		}
	}
	s.audit(r, "manifest pushed", "tags", tags, "digest", d)
	s.created(w, r, "manifests/"+d.String(), d)
	return nil
}

// putReference reads what a push is to be known by: a tag, or a digest with any number of ?tag= parameters.
func putReference(r *request) (tags []string, d digest.Digest, err error) {
	tags = []string{r.param}
	if strings.Contains(r.param, ":") {
		if d, err = parseDigest(r.param); err != nil {
			return nil, "", err
		}
		tags = r.URL.Query()["tag"]
	}
	if len(tags) > maxTags {
		return nil, "", fail(codeTagInvalid, "%d tags at once; %d are the most", len(tags), maxTags)
	}
	for _, tag := range tags {
		if !store.ValidTag(tag) {
			return nil, "", fail(codeTagInvalid, "%q: use letters, digits, '.', '_' and '-', 128 at most", tag)
		}
		if strings.HasPrefix(r.repository.Name(), pack.ArchivePrefix) && pack.IsParentTag(tag) {
			return nil, "", fail(codeUnsupported, "%s is a parent tag: it always names the newest version below it, and cannot be pushed", tag)
		}
	}
	return tags, d, nil
}

func (s *Server) deleteManifest(w http.ResponseWriter, r *request) error {
	if !strings.Contains(r.param, ":") {
		return s.deleteTag(w, r)
	}
	d, err := parseDigest(r.param)
	if err != nil {
		return err
	}
	head, err := r.repository.Head(r.Context(), d)
	if err != nil {
		return as(codeManifestUnknown, err)
	}
	done, err := s.hold(r, head)
	if err != nil {
		return err
	}
	defer done()
	if err := r.repository.DeleteManifest(r.Context(), d); err != nil {
		return as(codeManifestUnknown, err)
	}
	s.audit(r, "manifest deleted", "digest", d)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Server) deleteTag(w http.ResponseWriter, r *request) error {
	if !store.ValidTag(r.param) {
		return fail(codeTagInvalid, "%q", r.param)
	}
	if r.api == "v1" && pack.IsParentTag(r.param) {
		return fail(codeUnsupported, "%s is a parent tag: it goes with the last version below it, and cannot be deleted", r.param)
	}
	if err := r.repository.DeleteTag(r.Context(), r.param); err != nil {
		return as(codeManifestUnknown, err)
	}
	s.audit(r, "tag deleted", "tag", r.param)
	w.WriteHeader(http.StatusAccepted)
	return nil
}
