package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"packregistry.dev/internal/helmchart"
	"packregistry.dev/pack"
)

// Build says which pack to make of charts.
type Build struct {
	Name string
	// Version is the first chart's unless it is named.
	Version, DisplayName, Layer string
	Charts                      []*helmchart.Chart
}

// Built is a pack that was made of charts.
type Built struct {
	Directory string
	// Notes are what could not be taken over.
	Notes []string
}

// BuildPack makes a pack of charts in the folder <name>-<version> below target. The folder appears only when it is complete.
func BuildPack(ctx context.Context, b Build, target string) (*Built, error) {
	first := b.Charts[0]
	if b.Version == "" {
		b.Version = first.Version
	}
	if b.DisplayName == "" {
		b.DisplayName = titleOf(b.Name)
	}
	result := &Built{Directory: filepath.Join(target, b.Name+"-"+b.Version)}
	if _, err := os.Lstat(result.Directory); err == nil {
		return nil, fmt.Errorf("%s exists already; remove it or choose another folder", result.Directory)
	}
	files := map[string][]byte{}
	metadata, err := b.metadata()
	if err != nil {
		return nil, err
	}
	files[pack.MetadataFile] = metadata
	files[pack.ValuesFile] = b.values(result)
	if files[pack.ReadmeFile] = first.Readme; len(first.Readme) == 0 {
		files[pack.ReadmeFile] = fmt.Appendf(nil, "# %s\n\n%s\n", b.DisplayName, first.Description)
	}
	for _, c := range b.Charts {
		files["charts/"+c.FileName()] = c.Archive
	}
	if logo, err := fetchLogo(ctx, first.Icon); err != nil {
		result.Notes = append(result.Notes, fmt.Sprintf("no logo.png: %v; add one", err))
	} else {
		files[pack.LogoFile] = logo
	}
	return result, writeFolder(result.Directory, files)
}

// metadata makes pack.json.
func (b Build) metadata() ([]byte, error) {
	annotations := map[string]string{"source": "community"}
	if home := b.Charts[0].Home; home != "" {
		annotations["docsURL"] = home
	}
	var charts []string
	for _, c := range b.Charts {
		charts = append(charts, "charts/"+c.FileName())
	}
	text, err := json.MarshalIndent(struct {
		Annotations map[string]string `json:"annotations"`
		Charts      []string          `json:"charts"`
		CloudTypes  []string          `json:"cloudTypes"`
		DisplayName string            `json:"displayName"`
		Layer       string            `json:"layer"`
		Name        string            `json:"name"`
		Version     string            `json:"version"`
	}{annotations, charts, []string{"all"}, b.DisplayName, b.Layer, b.Name, b.Version}, "", "  ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	if _, violations := pack.ParseMetadata(text); len(violations) > 0 {
		return nil, pack.AsError(violations)
	}
	return text, nil
}

// values makes values.yaml: each chart's values, comments and all, where consoles hand them to the chart.
func (b Build) values(result *Built) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "pack:\n  namespace: %q\n  content:\n    images:", b.Name)
	listed := map[string]bool{}
	for _, c := range b.Charts {
		images, err := c.Images()
		if err != nil {
			result.Notes = append(result.Notes, fmt.Sprintf("the images of chart %s are not known, since it does not render with its own values: %v; list them under pack.content.images", c.Name, err))
		}
		for _, name := range images {
			if !listed[name] {
				listed[name] = true
				fmt.Fprintf(&text, "\n    - image: %q", name)
			}
		}
	}
	if len(listed) == 0 {
		text.WriteString(" []")
	}
	text.WriteString("\n\ncharts:\n")
	for _, c := range b.Charts {
		fmt.Fprintf(&text, "  %s:", c.Name)
		if !hasValues(c.Values) {
			text.WriteString(" {}\n")
			continue
		}
		text.WriteByte('\n')
		for line := range strings.Lines(string(c.Values)) {
			switch line = strings.TrimRight(line, "\r\n"); {
			case line == "---":
			case strings.TrimSpace(line) == "":
				text.WriteByte('\n')
			default:
				text.WriteString("    " + line + "\n")
			}
		}
	}
	return text.Bytes()
}

// hasValues says whether there is more in a file than blanks and comments.
func hasValues(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line != "---" && line != "{}" && !strings.HasPrefix(line, "#") {
			return true
		}
	}
	return false
}

// titleOf makes a title of a name: ingress-nginx is Ingress Nginx.
func titleOf(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' || r == '.' })
	for i, word := range words {
		words[i] = string(unicode.ToUpper(rune(word[0]))) + word[1:]
	}
	return strings.Join(words, " ")
}

// maxIcon bounds an icon that is fetched, in bytes.
const maxIcon = 1 << 20

// fetchLogo fetches a chart's icon as a PNG.
func fetchLogo(ctx context.Context, icon string) ([]byte, error) {
	if icon == "" {
		return nil, errors.New("the chart names no icon")
	}
	data, err := get(ctx, icon, maxIcon)
	if err != nil {
		return nil, err
	}
	config, form, err := image.DecodeConfig(bytes.NewReader(data))
	const most = 4096
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is neither PNG, JPEG nor GIF", icon)
	case form == "png":
		return data, nil
	case config.Width > most || config.Height > most:
		return nil, fmt.Errorf("%s is larger than %d pixels", icon, most)
	}
	decoded, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", icon, err)
	}
	var converted bytes.Buffer
	err = png.Encode(&converted, decoded)
	return converted.Bytes(), err
}

// get fetches a file from a web server.
func get(ctx context.Context, address string, limit int64) ([]byte, error) {
	if !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") {
		return nil, fmt.Errorf("%.100s is not at a web server", address)
	}
	transport, err := newTransport(Server{})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return nil, explainConnection(Server{Host: r.URL.Host}, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", address, response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes", address, limit)
	}
	return data, err
}

// writeFolder writes files into a folder that appears only when it is complete.
func writeFolder(final string, files map[string][]byte) error {
	parent := filepath.Dir(final)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	partial, err := os.MkdirTemp(parent, ".building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial) // gone already if all went well
	for name, data := range files {
		path := filepath.Join(partial, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(partial, 0o755); err != nil {
		return err
	}
	return os.Rename(partial, final)
}
