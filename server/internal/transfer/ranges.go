package transfer

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRanges is how many pieces of content one request may ask for. Each costs some hundred bytes of the answer, and a seek.
const maxRanges = 16

// ServeContent is http.ServeContent for requests of a bounded number of pieces. Of more, and of pieces that overlap, the whole is
// sent instead, as RFC 9110 (14.2) allows and as net/http does where the pieces are more than the whole: a client that asks for a
// range must be ready for that, while a refusal would break it. nginx does the same beyond its max_ranges.
func ServeContent(w http.ResponseWriter, r *http.Request, modified time.Time, size int64, content io.ReadSeeker) {
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
