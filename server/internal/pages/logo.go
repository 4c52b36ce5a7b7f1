package pages

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// maxLogo is how many bytes the site's logo may have.
const maxLogo = 256 << 10

// readLogo reads the image that the configuration names, and finds out which kind it is by its content.
func readLogo(path string) (image []byte, mediaType string, err error) {
	if path == "" {
		return nil, "", nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("ui.logo: %w", err)
	}
	defer file.Close()
	if image, err = io.ReadAll(io.LimitReader(file, maxLogo+1)); err != nil {
		return nil, "", fmt.Errorf("ui.logo: %w", err)
	}
	if len(image) > maxLogo {
		return nil, "", fmt.Errorf("ui.logo: %s has more than %d bytes", path, maxLogo)
	}
	switch mediaType = http.DetectContentType(image); mediaType {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
		return image, mediaType, nil
	}
	if isSVG(image) {
		return image, "image/svg+xml", nil
	}
	return nil, "", fmt.Errorf("ui.logo: %s is no PNG, JPEG, GIF, WebP or SVG", path)
}

// isSVG says whether a text is XML with an SVG at its root.
func isSVG(text []byte) bool {
	decoder := xml.NewDecoder(bytes.NewReader(text))
	root := ""
	for {
		token, err := decoder.Token()
		if err != nil {
			return errors.Is(err, io.EOF) && root == "svg"
		}
		if e, ok := token.(xml.StartElement); ok && root == "" {
			root = e.Name.Local
		}
	}
}
