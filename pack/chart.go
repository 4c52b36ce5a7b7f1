package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/klauspost/compress/gzip"
	"go.yaml.in/yaml/v3"
)

// Bounds on a chart in a pack: the largest public one unpacks to some 10 MB.
const (
	maxChart      = 64 << 20
	maxChartFiles = 10_000
	maxChartFile  = 1 << 20
)

// chart is what was found of a chart's archive.
type chart struct {
	name, version string
	err           *parseError
}

// readChart reads a chart's archive, and returns what it unpacks to in bytes. What is wrong with the chart is in the chart; the
// error is one of reading.
func readChart(ctx context.Context, r io.Reader) (c chart, unpacked int64, err error) {
	source := &countingReader{r: contextReader{ctx, r}}
	bounded := &io.LimitedReader{N: maxChart}
	c, err = parseChart(ctx, source, bounded)
	unpacked = maxChart - bounded.N
	switch p, wrong := asParseError(err); {
	case source.err != nil:
		return c, unpacked, source.err
	case wrong:
		c.err = p
	case err != nil:
		return c, unpacked, err
	}
	return c, unpacked, nil
}

func parseChart(ctx context.Context, source io.Reader, bounded *io.LimitedReader) (c chart, err error) {
	invalid := func(format string, args ...any) (chart, error) {
		return c, &parseError{message: fmt.Sprintf(format, args...)}
	}
	decompressor, err := gzip.NewReader(source)
	if err != nil {
		return invalid("not a gzip archive; make it with: helm package DIR")
	}
	defer decompressor.Close() //nolint:errcheck // it was only read
	bounded.R = decompressor
	archive := tar.NewReader(bounded)
	found := false
	for files := 0; ; files++ {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && !found:
			return invalid("holds no Chart.yaml in its top folder; make it with: helm package DIR")
		case errors.Is(err, io.EOF):
			return c, nil
		case err != nil && bounded.N <= 0, files > maxChartFiles:
			return invalid("unpacks to more than a chart may hold: %d bytes, %d files", maxChart, maxChartFiles)
		case err != nil:
			return invalid("damaged: %v", err)
		case header.Typeflag != tar.TypeReg:
			continue
		}
		_, name, nested := strings.Cut(path.Clean(header.Name), "/")
		if !nested || name != "Chart.yaml" && name != "values.yaml" {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(archive, maxChartFile+1))
		if err != nil || len(text) > maxChartFile {
			return invalid("%s is damaged, or larger than %d bytes", name, maxChartFile)
		}
		if err := c.file(ctx, name, text); err != nil {
			if p, wrong := asParseError(err); wrong {
				return invalid("%s: %s", name, p.message)
			}
			return c, err
		}
		found = found || name == "Chart.yaml"
	}
}

// file reads one of the files that a chart must have right.
func (c *chart) file(ctx context.Context, name string, text []byte) error {
	return parseYAML(ctx, text, func(document *yaml.Node) error {
		top, err := mapping(document)
		if err != nil || name != "Chart.yaml" {
			return err
		}
		for key, field := range map[string]*string{"name": &c.name, "version": &c.version} {
			value := child(top, key)
			if value == nil || value.Kind != yaml.ScalarNode || value.Value == "" {
				return &parseError{message: "has no " + key}
			}
			*field = clip(value.Value, maxQuoted)
		}
		return nil
	})
}

var chartFileVersion = regexp.MustCompile(`-(v?[0-9]+\.[0-9]+.*)$`)

// otherVersion returns the version that the name of a chart's archive claims, where its Chart.yaml has another.
func (c chart) otherVersion(file string) string {
	base := strings.TrimSuffix(strings.TrimSuffix(path.Base(file), ".tgz"), ".tar.gz")
	claimed, ok := strings.CutPrefix(base, c.name+"-")
	if !ok {
		found := chartFileVersion.FindStringSubmatch(base)
		if found == nil {
			return ""
		}
		claimed = found[1]
	}
	if c.version == "" || claimed == "" || strings.TrimPrefix(claimed, "v") == strings.TrimPrefix(c.version, "v") || !chartFileVersion.MatchString("-"+claimed) {
		return ""
	}
	return claimed
}
