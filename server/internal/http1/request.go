package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// reader lets http.ReadRequest read from bytes that have come.
type reader struct {
	from     bytes.Reader
	buffered *bufio.Reader
}

var readers = sync.Pool{New: func() any {
	r := &reader{}
	r.buffered = bufio.NewReaderSize(&r.from, headBytes)
	return r
}}

// endOfHead ends what a request says of itself.
var endOfHead = []byte("\r\n\r\n")

// read takes the request that in begins with, if all of its head is there and it is one for this package. used is how many
// bytes it has. Nothing is refused here, and what is not ok has been read by nobody.
func read(in []byte) (r *http.Request, used int, ok bool) {
	if !bytes.HasPrefix(in, []byte("GET /")) && !bytes.HasPrefix(in, []byte("HEAD /")) || !bytes.Contains(in, endOfHead) {
		return nil, 0, false
	}
	from := readers.Get().(*reader) //nolint:forcetypeassert // nothing else is put there
	defer readers.Put(from)
	from.from.Reset(in)
	from.buffered.Reset(&from.from)
	r, err := http.ReadRequest(from.buffered)
	if err != nil || !bare(r) {
		return nil, 0, false
	}
	return r, len(in) - from.from.Len() - from.buffered.Buffered(), true
}

// bare says whether a request is HTTP/1.1, has no body, asks for nothing but an answer, and is one that http.Server would
// not refuse for its headers.
func bare(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.Close || r.Body != http.NoBody || r.ContentLength != 0 || r.TransferEncoding != nil || r.Trailer != nil {
		return false
	}
	for name, values := range r.Header {
		switch name {
		case "Content-Length", "Expect", "Te", "Trailer", "Upgrade":
			return false
		case "Connection":
			if len(values) != 1 || !strings.EqualFold(values[0], "keep-alive") {
				return false
			}
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return false
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return false
			}
		}
	}
	return r.Host != "" && httpguts.ValidHostHeader(r.Host)
}
