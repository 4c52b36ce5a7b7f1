// Package helmchart loads Helm charts and renders them, to find out what they would run. It is apart from its users since
// Helm's library brings much along.
package helmchart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
)

// Chart is a chart with its archive.
type Chart struct {
	Name, Version, AppVersion string
	Description, Home, Icon   string
	// Values and Readme are its files values.yaml and README.md as they are.
	Values, Readme []byte
	// Archive is its .tgz.
	Archive []byte

	chart *chart.Chart
}

// Load loads a chart from its archive or its folder.
func Load(path string) (*Chart, error) {
	loaded, err := loader.Load(path)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", path, err)
	}
	if err := loaded.Validate(); err != nil {
		return nil, fmt.Errorf("chart %s: %w", path, err)
	}
	archive, err := archiveOf(path, loaded)
	if err != nil {
		return nil, err
	}
	m := loaded.Metadata
	c := &Chart{
		Name: m.Name, Version: m.Version, AppVersion: m.AppVersion, Description: m.Description, Home: m.Home, Icon: m.Icon,
		Archive: archive, chart: loaded,
	}
	for _, f := range loaded.Raw {
		switch f.Name {
		case "values.yaml":
			c.Values = f.Data
		case "README.md":
			c.Readme = f.Data
		}
	}
	return c, nil
}

// archiveOf is the chart's archive as it is, or made of its folder.
func archiveOf(path string, loaded *chart.Chart) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return readFile(path, err)
	}
	dir, err := os.MkdirTemp("", "chart-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file, err := chartutil.Save(loaded, dir)
	return readFile(file, err)
}

func readFile(path string, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// FileName is the usual name of the chart's archive.
func (c *Chart) FileName() string { return filepath.Base(c.Name + "-" + c.Version + ".tgz") }

// Images renders the chart with its own values, and returns the images of all containers.
func (c *Chart) Images() ([]string, error) {
	if err := chartutil.ProcessDependencies(c.chart, c.chart.Values); err != nil {
		return nil, err
	}
	values, err := util.ToRenderValues(c.chart, nil, common.ReleaseOptions{Name: c.Name, Namespace: "default", Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c.chart, values)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for name, text := range files {
		if ending := filepath.Ext(name); ending != ".yaml" && ending != ".yml" || strings.Contains(name, "/templates/tests/") {
			continue
		}
		if err := imagesOf(text, found); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func imagesOf(text string, found map[string]bool) error {
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	for {
		var document any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		collect(document, found)
	}
}

// collect finds lists of containers at any depth, so that it finds those of custom resources, too.
func collect(value any, found map[string]bool) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			collect(item, found)
		}
	case map[string]any:
		for key, item := range value {
			if list, ok := item.([]any); ok && strings.HasSuffix(strings.ToLower(key), "containers") {
				for _, container := range list {
					fields, _ := container.(map[string]any) //nolint:errcheck // nil has no image
					if image, ok := fields["image"].(string); ok && image != "" {
						found[image] = true
					}
				}
			}
			collect(item, found)
		}
	}
}
