package server

import (
	"net/http"
	"slices"
	"strings"
)

// This file is how content is shown that somebody has pushed: never as something that a browser runs on the registry's origin.

// inlineTypes are the media types that ?type= may make the server claim, and that files are shown as.
var inlineTypes = map[string]bool{
	"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "image/x-icon": true,
	"text/plain": true, "application/json": true, "application/yaml": true, "text/yaml": true,
}

// Values of headers of every answer of the API, shared like those in handler.go. A browser that opens one, by whatever name
// it takes it to be a page, runs nothing in it.
var (
	noSniffing  = []string{"nosniff"}
	octetStream = []string{"application/octet-stream"}
	attachment  = []string{"attachment"}
)

// sandbox is a policy beside the configured ones: where there are several, all hold.
const sandbox = "default-src 'none'; sandbox"

func contentPolicies(configured []string) []string {
	return slices.Clip(append(slices.Clone(configured), sandbox))
}

// showAs makes a browser show content as what it is said to be, if that is harmless, and else keep it.
func showAs(h http.Header, mediaType string) {
	mediaType = strings.ToLower(mediaType)
	if inlineTypes[mediaType] {
		h.Set("Content-Type", mediaType)
		return
	}
	h["Content-Type"], h["Content-Disposition"] = octetStream, attachment
}

// isManifestType says whether a manifest of that media type can be served as what it is. Those that are pushed today all can;
// an older version, or an import, may have stored others.
func isManifestType(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/") && (strings.HasSuffix(mediaType, "+json") || strings.HasSuffix(mediaType, "+prettyjws") || mediaType == "application/json")
}
