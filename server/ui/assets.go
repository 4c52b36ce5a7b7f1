package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file that pages refer to, by a URL that changes with its content, so that browsers keep it.
type asset struct {
	plain, compressed []byte
	mediaType         string
	hash              string
}

func newAsset(name string, content []byte) *asset {
	sum := sha256.Sum256(content)
	a := &asset{plain: content, mediaType: mime.TypeByExtension(path.Ext(name)), hash: hex.EncodeToString(sum[:6])}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(content)
	}
	if err == nil && z.Close() == nil && packed.Len() < len(content) {
		a.compressed = packed.Bytes()
	}
	return a
}

func readAssets() (map[string]*asset, error) {
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		return nil, err
	}
	all := map[string]*asset{}
	for _, e := range entries {
		content, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, err
		}
		all[e.Name()] = newAsset(e.Name(), content)
	}
	return all, nil
}

func (h *Handler) getAsset(w http.ResponseWriter, r *request) error {
	a := h.assets[r.PathValue("file")]
	if a == nil {
		return ErrNotFound
	}
	a.serve(w, r.Request)
	return nil
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", a.mediaType)
	header.Set("Vary", "Accept-Encoding")
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	if r.URL.Query().Get("v") != a.hash {
		header.Set("Cache-Control", "no-cache") // a URL by hand, or of another version of the registry
	}
	body := a.plain
	if a.compressed != nil && acceptsGzip(r) {
		header.Set("Content-Encoding", "gzip")
		body = a.compressed
	}
	header.Set("Etag", `"`+a.hash+strconv.Itoa(len(body))+`"`)
	if r.Header.Get("If-None-Match") == header.Get("Etag") {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body) //nolint:errcheck // the client is gone
	}
}

// acceptsGzip says whether a client takes gzip, as all browsers do. What it says of qualities is heeded only where it refuses.
func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		coding, quality, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(part), " ", ""), ";")
		if coding == "gzip" {
			return strings.Trim(strings.TrimPrefix(quality, "q="), "0.") != "" || quality == ""
		}
	}
	return false
}
