package pages

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogos(t *testing.T) {
	picture := image.NewPaletted(image.Rect(0, 0, 2, 2), color.Palette{color.Black, color.White})
	encoded := func(encode func(*bytes.Buffer) error) string {
		t.Helper()
		var text bytes.Buffer
		if err := encode(&text); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	aPNG := encoded(func(b *bytes.Buffer) error { return png.Encode(b, picture) })
	const aSVG = `<?xml version="1.0"?><!-- by hand --><svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>`
	for name, tt := range map[string]struct{ content, mediaType, problem string }{
		"PNG":                {aPNG, "image/png", ""},
		"JPEG":               {encoded(func(b *bytes.Buffer) error { return jpeg.Encode(b, picture, nil) }), "image/jpeg", ""},
		"GIF":                {encoded(func(b *bytes.Buffer) error { return gif.Encode(b, picture, nil) }), "image/gif", ""},
		"WebP":               {"RIFF\x1a\x00\x00\x00WEBPVP8 " + strings.Repeat("\x00", 14), "image/webp", ""},
		"SVG":                {aSVG, "image/svg+xml", ""},
		"HTML":               {"<html><svg></svg></html>", "", "is no PNG"},
		"SVG after HTML":     {"<!doctype html><script>alert(1)</script>" + aSVG, "", "is no PNG"},
		"SVG that is cut":    {aSVG[:len(aSVG)-4], "", "is no PNG"},
		"text":               {"logo", "", "is no PNG"},
		"nothing":            {"", "", "is no PNG"},
		"as large as may be": {aPNG + strings.Repeat("\x00", maxLogo-len(aPNG)), "image/png", ""},
		"too large":          {aPNG + strings.Repeat("\x00", maxLogo-len(aPNG)+1), "", "more than 262144 bytes"},
	} {
		path := filepath.Join(t.TempDir(), "logo.html") // names say nothing
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		content, mediaType, err := readLogo(path)
		switch {
		case tt.problem == "" && (err != nil || mediaType != tt.mediaType || string(content) != tt.content):
			t.Errorf("%s: %d bytes of %q, %v", name, len(content), mediaType, err)
		case tt.problem != "" && (err == nil || !strings.HasPrefix(err.Error(), "ui.logo: ") || !strings.Contains(err.Error(), tt.problem) || content != nil):
			t.Errorf("%s: %d bytes, %v; want an error that says %q", name, len(content), err, tt.problem)
		}
	}
	if _, _, err := readLogo(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "ui.logo: ") {
		t.Errorf("a missing file: %v", err)
	}
	if content, mediaType, err := readLogo(""); content != nil || mediaType != "" || err != nil {
		t.Errorf("no logo: %v", err)
	}
}
