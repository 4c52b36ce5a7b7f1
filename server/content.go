package server

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
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

// maxRanges is how many pieces of content one request may ask for. Each costs some hundred bytes of the answer, and a seek.
const maxRanges = 16

// serveContent is http.ServeContent for requests of a bounded number of pieces. Of more, and of pieces that overlap, the whole is
// sent instead, as RFC 9110 (14.2) allows and as net/http does where the pieces are more than the whole: a client that asks for a
// range must be ready for that, while a refusal would break it. nginx does the same beyond its max_ranges.
func serveContent(w http.ResponseWriter, r *http.Request, modified time.Time, size int64, content io.ReadSeeker) {
	if ranges := r.Header["Range"]; len(ranges) > 0 && !reasonable(ranges[0], size) {
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "", modified, content)
}

// reasonable says whether ranges are few, and do not overlap. One that is malformed is answered by http.ServeContent.
func reasonable(ranges string, size int64) bool {
	if !strings.Contains(ranges, ",") {
		return true
	}
	_, list, _ := strings.Cut(ranges, "=")
	type piece struct{ first, last int64 }
	pieces := make([]piece, 0, maxRanges)
	for given := range strings.SplitSeq(list, ",") {
		given = strings.TrimSpace(given)
		if given == "" {
			continue
		}
		if len(pieces) == maxRanges {
			return false
		}
		from, to, _ := strings.Cut(given, "-")
		first, noFirst := strconv.ParseInt(strings.TrimSpace(from), 10, 64)
		last, noLast := strconv.ParseInt(strings.TrimSpace(to), 10, 64)
		switch {
		case noFirst != nil && noLast != nil:
			return true // malformed
		case noFirst != nil:
			first, last = max(size-last, 0), size-1
		case noLast != nil:
			last = size - 1
		}
		pieces = append(pieces, piece{first, min(last, size-1)})
	}
	slices.SortFunc(pieces, func(a, b piece) int { return int(min(max(a.first-b.first, -1), 1)) })
	for i := 1; i < len(pieces); i++ {
		if pieces[i].first <= pieces[i-1].last {
			return false
		}
	}
	return true
}
