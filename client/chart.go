package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry"
	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/helmchart"
	"packregistry.dev/pack"
)

const (
	helmMediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	maxChart      = 64 << 20
	maxIndex      = 64 << 20
)

// LoadChart loads a chart from an archive or a folder, from an OCI registry (oci://HOST/PATH/CHART:VERSION), or from a
// repository of charts (https://HOST/PATH/CHART:VERSION). connect connects to a registry's server.
func LoadChart(ctx context.Context, source string, connect func(server string) (*Client, error)) (*helmchart.Chart, error) {
	var archive []byte
	var err error
	switch {
	case strings.HasPrefix(source, "oci://"):
		archive, err = chartFromOCI(ctx, source, connect)
	case strings.HasPrefix(source, "https://"), strings.HasPrefix(source, "http://"):
		archive, err = chartFromRepository(ctx, source)
	default:
		return helmchart.Load(source)
	}
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", source, err)
	}
	dir, err := os.MkdirTemp("", "chart-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "chart.tgz")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		return nil, err
	}
	return helmchart.Load(file)
}

func chartFromOCI(ctx context.Context, source string, connect func(string) (*Client, error)) ([]byte, error) {
	reference, err := registry.ParseReference(strings.TrimPrefix(source, "oci://"))
	if err != nil {
		return nil, err
	}
	if reference.Reference == "" {
		return nil, fmt.Errorf("name a version, as %s:1.2.3", source)
	}
	c, err := connect(reference.Registry)
	if err != nil {
		return nil, err
	}
	repo, err := c.registry.Repository(ctx, reference.Repository)
	if err != nil {
		return nil, err
	}
	descriptor, err := repo.Resolve(ctx, strings.ReplaceAll(reference.Reference, "+", "_")) // as Helm writes build metadata in tags
	if err != nil {
		return nil, c.explain(err)
	}
	text, err := content.FetchAll(ctx, repo, descriptor)
	if err != nil {
		return nil, c.explain(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	for _, layer := range m.Layers {
		if layer.MediaType == helmMediaType && layer.Size <= maxChart {
			archive, err := content.FetchAll(ctx, repo, layer)
			return archive, c.explain(err)
		}
	}
	return nil, fmt.Errorf("no Helm chart of at most %d bytes is there", maxChart)
}

// chartFromRepository finds a chart in the index of a repository of charts.
func chartFromRepository(ctx context.Context, source string) ([]byte, error) {
	if strings.HasSuffix(source, ".tgz") {
		return get(ctx, source, maxChart)
	}
	slash := strings.LastIndex(source, "/")
	base, name := source[:slash+1], source[slash+1:]
	name, version, _ := strings.Cut(name, ":")
	text, err := get(ctx, base+"index.yaml", maxIndex)
	if err != nil {
		return nil, err
	}
	var index struct {
		Entries map[string][]struct {
			Version string   `json:"version"`
			URLs    []string `json:"urls"`
			Digest  string   `json:"digest"`
		} `json:"entries"`
	}
	if err := yaml.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%sindex.yaml: %w", base, err)
	}
	var versions []string
	for _, entry := range index.Entries[name] {
		versions = append(versions, entry.Version)
	}
	if version == "" {
		version = pack.Newest(versions, "")
	}
	for _, entry := range index.Entries[name] {
		if entry.Version != version || len(entry.URLs) == 0 {
			continue
		}
		address, err := url.Parse(entry.URLs[0])
		if err != nil {
			return nil, err
		}
		from, err := url.Parse(base)
		if err != nil {
			return nil, err
		}
		archive, err := get(ctx, from.ResolveReference(address).String(), maxChart)
		if err == nil && entry.Digest != "" && digest.FromBytes(archive).Encoded() != strings.TrimPrefix(entry.Digest, "sha256:") {
			err = fmt.Errorf("%s has another digest than the index says", address)
		}
		return archive, err
	}
	return nil, notFound("%s has no %s %s; it has %s", base, name, version, strings.Join(versions[:min(len(versions), 5)], ", "))
}
