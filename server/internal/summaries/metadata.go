package summaries

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/store"
)

// Bounds of what is taken from a version, in bytes; what is longer is cut off, and manifests that are larger than those of packs
// are left alone.
const (
	maxPackJSON    = 1 << 20
	maxManifest    = 1 << 20
	maxText        = 512
	maxField       = 64
	maxClouds      = 32
	packJSON, logo = "pack.json", "logo.png"
)

// readMetadata reads what is known of a manifest by its digest. Of one that is no pack, or was not validated, that is little.
func readMetadata(ctx context.Context, r *store.Repository, d digest.Digest) (*Metadata, error) {
	head, err := r.Head(ctx, d)
	if err != nil {
		return nil, err
	}
	m := &Metadata{}
	if head.Size <= maxManifest {
		whole := head
		if head.Content == nil {
			if whole, err = r.Manifest(ctx, d); err != nil {
				return nil, err
			}
		}
		if c, err := store.ParseManifest(whole.MediaType, whole.Content); err == nil && len(c.Layers) == 1 {
			m.Size = c.Layers[0].Size
		}
	}
	for _, file := range head.Files {
		switch file.Name {
		case logo:
			m.Logo = true
		case packJSON:
			if err := m.read(ctx, r, file); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// read takes over what pack.json says. One that is gone, or too large, says nothing.
func (m *Metadata) read(ctx context.Context, r *store.Repository, file store.File) error {
	if file.Size > maxPackJSON {
		return nil
	}
	blob, err := r.Blob(ctx, file.Digest)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) {
		return nil
	}
	if err != nil {
		return err
	}
	defer blob.Close()
	text, err := io.ReadAll(io.LimitReader(blob, maxPackJSON))
	if err != nil {
		return err
	}
	said, _ := pack.ParseMetadata(text) // it was validated when it was pushed, by the rules of that time
	m.DisplayName, m.Layer, m.Type, m.Group = cut(said.DisplayName, maxField*4), cut(said.Layer, maxField), cut(said.AddonType, maxField), cut(said.Group, maxField)
	m.Source, m.State, m.Description = cut(said.Annotations["source"], maxField), cut(said.State(), maxField), cut(said.Annotations["description"], maxText)
	for _, cloud := range said.CloudTypes[:min(len(said.CloudTypes), maxClouds)] {
		m.CloudTypes = append(m.CloudTypes, cut(cloud, maxField))
	}
	var more struct {
		CloudType   string `json:"cloudType"`
		Description string `json:"description"`
	}
	if json.Unmarshal(text, &more) == nil {
		if len(m.CloudTypes) == 0 && more.CloudType != "" {
			m.CloudTypes = []string{cut(more.CloudType, maxField)}
		}
		if m.Description == "" {
			m.Description = cut(more.Description, maxText)
		}
	}
	return nil
}

// cut shortens text, and takes a copy, so that the whole is not kept in memory.
func cut(s string, most int) string {
	if len(s) > most {
		for most > 0 && !utf8.RuneStart(s[most]) {
			most--
		}
		s = s[:most]
	}
	return strings.Clone(s)
}
