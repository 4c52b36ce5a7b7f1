package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
)

// Media types of Docker's manifests, which say the same as OCI's.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// forceHeader lets an existing tag of a pack be moved.
const forceHeader = "Packregistry-Force"

// find returns the manifest that a reference (tag or digest) names.
func (s *Server) find(r *request) (*store.Manifest, error) {
	if strings.Contains(r.param, ":") {
		d, err := parseDigest(r.param)
		if err != nil {
			return nil, err
		}
		m, err := r.repository.Manifest(r.Context(), d)
		return m, as(codeManifestUnknown, err)
	}
	if !store.ValidTag(r.param) {
		return nil, fail(codeTagInvalid, "%q", r.param)
	}
	tag := r.param
	if r.door == "v1" && pack.IsParentTag(tag) {
		newest, err := newestBelow(r, tag)
		if err != nil {
			return nil, err
		}
		if newest != "" {
			tag = newest
		}
	}
	m, err := r.repository.Tagged(r.Context(), tag)
	return m, as(codeManifestUnknown, err)
}

func (s *Server) getManifest(w http.ResponseWriter, r *request) error {
	m, err := s.find(r)
	if err != nil {
		return err
	}
	h := w.Header()
	values := []string{m.MediaType, m.Digest.String(), `"` + m.Digest.String() + `"`, strconv.Itoa(len(m.Content))}
	h["Content-Type"], h["Docker-Content-Digest"], h["Etag"] = values[0:1:1], values[1:2:2], values[2:3:3]
	if len(r.Header["Range"]) > 0 || len(r.Header["If-None-Match"]) > 0 || len(r.Header["If-Match"]) > 0 {
		http.ServeContent(w, r.Request, "", time.Time{}, bytes.NewReader(m.Content))
		return nil
	}
	h["Content-Length"] = values[3:]
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(m.Content)
	return err
}

// content is the part of a manifest or an index that the registry looks at. Everything else is kept as it came.
type content struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Blobs        []ocispec.Descriptor `json:"blobs"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

func parseManifest(r *request, text []byte) (mediaType string, c content, err error) {
	if err := json.Unmarshal(text, &c); err != nil {
		return "", c, fail(codeManifestInvalid, "not a JSON object: %v", err)
	}
	mediaType = c.MediaType
	if header := r.Header.Get("Content-Type"); header != "" {
		named, _, err := mime.ParseMediaType(header)
		if err != nil {
			return "", c, fail(codeManifestInvalid, "Content-Type %q: %v", header, err)
		}
		if mediaType != "" && named != mediaType {
			return "", c, fail(codeManifestInvalid, "Content-Type says %q, the manifest itself %q", named, mediaType)
		}
		mediaType = named
	}
	switch mediaType {
	case ocispec.MediaTypeImageManifest, dockerManifest:
		if c.Config == nil {
			return "", c, fail(codeManifestInvalid, "an image manifest names a config")
		}
		if len(c.Manifests) > 0 {
			return "", c, fail(codeManifestInvalid, "an image manifest names no manifests")
		}
	case ocispec.MediaTypeImageIndex, dockerList:
		if c.Config != nil || len(c.Layers) > 0 {
			return "", c, fail(codeManifestInvalid, "an index names neither config nor layers")
		}
	case "":
		return "", c, fail(codeManifestInvalid, "neither Content-Type nor mediaType says what this is")
	}
	return mediaType, c, nil
}

// nondistributable layers stay where they are and are never pushed.
func nondistributable(d ocispec.Descriptor) bool {
	return strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".foreign.") || len(d.URLs) > 0
}

// referenced is what a manifest names and the repository must hold.
type referenced struct{ blobs, manifests []ocispec.Descriptor }

func references(c content) (referenced, error) {
	all := append(append([]ocispec.Descriptor(nil), c.Layers...), c.Blobs...)
	if c.Config != nil {
		all = append(all, *c.Config)
	}
	named := referenced{manifests: c.Manifests}
	for _, d := range all {
		if !nondistributable(d) {
			named.blobs = append(named.blobs, d)
		}
	}
	for _, d := range append(slices.Clip(named.blobs), named.manifests...) {
		if !store.SupportedDigest(d.Digest) {
			return named, fail(codeManifestInvalid, "names the digest %q, which is malformed", d.Digest)
		}
	}
	return named, nil
}

func digests(list []ocispec.Descriptor) []digest.Digest {
	found := make([]digest.Digest, len(list))
	for i, d := range list {
		found[i] = d.Digest
	}
	return found
}

// missing lists what a manifest names and the repository lacks.
func missing(r *request, named referenced) ([]ocispec.Descriptor, error) {
	var lacking []ocispec.Descriptor
	for _, d := range named.blobs {
		has, err := r.repository.HasBlob(r.Context(), d.Digest)
		if err != nil {
			return nil, err
		}
		if !has {
			lacking = append(lacking, d)
		}
	}
	for _, d := range named.manifests {
		switch _, err := r.repository.Manifest(r.Context(), d.Digest); {
		case errors.Is(err, store.ErrNotFound):
			lacking = append(lacking, d)
		case err != nil:
			return nil, err
		}
	}
	return lacking, nil
}

// maxTags bounds how many tags one push can set.
const maxTags = 10

func (s *Server) putManifest(w http.ResponseWriter, r *request) error {
	tags, d, err := putReference(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.config.HTTP.Limits.ManifestBytes)))
	if err != nil {
		return err
	}
	if d == "" {
		d = digest.FromBytes(text)
	} else if found := d.Algorithm().FromBytes(text); found != d {
		return fail(codeDigestInvalid, "said to be %s, is %s", d, found)
	}
	mediaType, c, err := parseManifest(r, text)
	if err != nil {
		return err
	}
	named, err := references(c)
	if err != nil {
		return err
	}
	lacking, err := missing(r, named)
	if err != nil {
		return err
	}
	if len(lacking) > 0 && s.config.Manifests.Missing != "accept" {
		return fail(codeManifestMissing, "").with(lacking)
	}
	files, err := s.checkPack(r, tags, d, c)
	if err != nil {
		return err
	}
	p := store.PutManifest{Digest: d, MediaType: mediaType, Content: text, By: r.user, Files: files,
		Blobs: digests(named.blobs), Manifests: digests(named.manifests), AcceptMissing: s.config.Manifests.Missing == "accept"}
	if c.Subject != nil {
		if !store.SupportedDigest(c.Subject.Digest) {
			return fail(codeManifestInvalid, "its subject has the digest %q, which is malformed", c.Subject.Digest)
		}
		p.Subject = c.Subject.Digest
		p.Referrer = referrer(p, c)
		w.Header().Set("OCI-Subject", p.Subject.String())
	}
	if err := r.repository.PutManifest(r.Context(), p); err != nil {
		return as(codeManifestMissing, err)
	}
	move := r.door == "v2" || strings.EqualFold(r.Header.Get(forceHeader), "true")
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
		if r.door == "v1" && pack.IsParentTag(tag) {
			return nil, "", fail(codeUnsupported, "%s is a parent tag: it always names the newest version below it, and cannot be pushed", tag)
		}
	}
	return tags, d, nil
}

// referrer is what the subject's list of referrers will say of a manifest.
func referrer(p store.PutManifest, c content) *ocispec.Descriptor {
	artifactType := c.ArtifactType
	if artifactType == "" && c.Config != nil {
		artifactType = c.Config.MediaType
	}
	return &ocispec.Descriptor{
		MediaType: p.MediaType, Digest: p.Digest, Size: int64(len(p.Content)),
		ArtifactType: artifactType, Annotations: c.Annotations,
	}
}

func (s *Server) deleteManifest(w http.ResponseWriter, r *request) error {
	if !strings.Contains(r.param, ":") {
		return s.deleteTag(w, r)
	}
	d, err := parseDigest(r.param)
	if err != nil {
		return err
	}
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
	if r.door == "v1" && pack.IsParentTag(r.param) {
		return fail(codeUnsupported, "%s is a parent tag: it goes with the last version below it, and cannot be deleted", r.param)
	}
	if err := r.repository.DeleteTag(r.Context(), r.param); err != nil {
		return as(codeManifestUnknown, err)
	}
	s.audit(r, "tag deleted", "tag", r.param)
	w.WriteHeader(http.StatusAccepted)
	return nil
}
