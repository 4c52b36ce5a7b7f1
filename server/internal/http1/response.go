package http1

import (
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// heldBytes is how much of an answer is kept back for its length to be known before its head is written, as in net/http.
const heldBytes = 2 << 10

// outBytes is how much is written at once where it is put together from pieces.
const outBytes = 4 << 10

// response is the http.ResponseWriter of one request. It does what net/http's does, but for what no handler of a registry
// asks for: trailers, informational answers, flushing, hijacking, a Transfer-Encoding or a Connection header of the
// handler's own other than close.
type response struct {
	conn   *conn
	header http.Header
	// head says that the answer has no body because the method is HEAD.
	head   bool
	status int
	// declared is the Content-Length that the handler has set; -1 where it has not.
	declared int64
	written  int64
	// typed and dated say that the handler has set a Content-Type (or an encoding, of which none is guessed) and a Date.
	typed, dated bool
	// begun says that out has the whole head, or the socket does.
	begun  bool
	closes bool
	// body takes what is written after the head.
	body io.Writer
	// by is the deadline for writing that the handler has set.
	by  time.Time
	err error

	held []byte // of the body, before the head is complete
	out  []byte // on its way to the socket
	// names are those of the last answer's headers in order, as those of the next one are, as a rule.
	names []string
}

// reset makes the response that of another request.
func (w *response) reset(r *http.Request) {
	clear(w.header)
	*w = response{conn: w.conn, header: w.header, head: r.Method == http.MethodHead, declared: -1,
		held: w.held[:0], out: w.out[:0], names: w.names}
}

func (w *response) Header() http.Header { return w.header }

// hasBody says whether answers of this status have one (RFC 9110, 15.3.5 and 15.4.5).
func (w *response) hasBody() bool {
	return w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// first is a header's first value. Its name is written as in the map.
func (w *response) first(name string) string {
	if values := w.header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// WriteHeader takes down the status and the headers as they are now.
func (w *response) WriteHeader(status int) {
	if w.status != 0 || status < http.StatusOK {
		return
	}
	w.status = status
	w.takeLength()
	w.closes = w.conn.server.draining.Load() || strings.EqualFold(w.first("Connection"), "close")
	_, typed := w.header["Content-Type"]
	w.typed = typed || w.first("Content-Encoding") != ""
	_, w.dated = w.header["Date"]

	w.out = append(w.out, "HTTP/1.1 "...)
	w.out = append(strconv.AppendInt(w.out, int64(status), 10), ' ')
	w.out = append(append(w.out, reason(status)...), "\r\n"...)
	if !w.fields() {
		w.sortNames()
		w.fields()
	}
}

// takeLength reads the Content-Length that the handler has set. One that is no length is dropped.
func (w *response) takeLength() {
	value := w.first("Content-Length")
	if value == "" {
		return
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		w.conn.server.logf("http: invalid Content-Length of %q", value)
		delete(w.header, "Content-Length")
		return
	}
	w.declared = n
}

// sortNames lists the headers. What is no name of one is dropped, as in net/http.
func (w *response) sortNames() {
	w.names = w.names[:0]
	for name := range w.header {
		if httpguts.ValidHeaderFieldName(name) {
			w.names = append(w.names, name)
		} else {
			delete(w.header, name)
		}
	}
	slices.Sort(w.names)
}

// fields writes the headers, if they have the names of the last answer's; else it writes nothing and returns false.
func (w *response) fields() bool {
	start := len(w.out)
	if len(w.names) != len(w.header) {
		return false
	}
	for _, name := range w.names {
		values, ok := w.header[name]
		if !ok {
			w.out = w.out[:start]
			return false
		}
		if w.suppressed(name) {
			continue
		}
		for _, value := range values {
			w.field(name, value)
		}
	}
	return true
}

// suppressed says which headers are not the handler's to send with this status.
func (w *response) suppressed(name string) bool {
	switch name {
	case "Transfer-Encoding", "Connection":
		return true
	case "Content-Length":
		return !w.hasBody()
	case "Content-Type":
		return w.status == http.StatusNotModified
	}
	return false
}

// newlines keeps a value from ending its header.
var newlines = strings.NewReplacer("\r", " ", "\n", " ")

func (w *response) field(name, value string) {
	if strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 {
		value = newlines.Replace(value)
	}
	w.out = append(append(w.out, name...), ": "...)
	w.out = append(append(w.out, strings.Trim(value, " \t")...), "\r\n"...)
}

func reason(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "status code " + strconv.Itoa(status)
}

// begin completes the head. What was held back is the beginning of the body; done says that it is all of it.
func (w *response) begin(done bool) {
	w.begun = true
	if !w.typed && w.hasBody() && len(w.held) > 0 {
		w.field("Content-Type", http.DetectContentType(w.held))
	}
	if !w.dated {
		w.out = append(w.out, "Date: "...)
		w.out = append(time.Now().UTC().AppendFormat(w.out, http.TimeFormat), "\r\n"...)
	}
	w.body = socket{w}
	switch {
	case w.declared >= 0 || !w.hasBody():
	case done && (!w.head || len(w.held) > 0):
		w.out = append(w.out, "Content-Length: "...)
		w.out = append(strconv.AppendInt(w.out, int64(len(w.held)), 10), "\r\n"...)
	case !w.head:
		w.out = append(w.out, "Transfer-Encoding: chunked\r\n"...)
		w.body = httputil.NewChunkedWriter(socket{w})
	}
	if w.closes {
		w.out = append(w.out, "Connection: close\r\n"...)
	}
	w.out = append(w.out, "\r\n"...)
	if w.head {
		w.body = io.Discard
	}
	if len(w.held) > 0 {
		w.body.Write(w.held) //nolint:errcheck // the response keeps the error
	}
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !w.hasBody() {
		return 0, http.ErrBodyNotAllowed
	}
	if w.written += int64(len(p)); w.declared >= 0 && w.written > w.declared {
		return 0, http.ErrContentLength
	}
	held := 0
	if !w.begun {
		held = min(len(p), heldBytes-len(w.held))
		w.held = append(w.held, p[:held]...)
		if held == len(p) {
			return held, nil
		}
		w.begin(false)
	}
	n, err := w.body.Write(p[held:])
	return held + n, err
}

// ReadFrom lets the system send a piece of a file by itself. Anything else is copied.
func (w *response) ReadFrom(from io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	to, direct := w.conn.net.(io.ReaderFrom)
	piece, bounded := from.(*io.LimitedReader)
	if !direct || !bounded || piece.N > w.declared-w.written || w.head || !w.typed || !w.hasBody() {
		return io.Copy(struct{ io.Writer }{w}, from)
	}
	if !w.begun {
		w.begin(false)
	}
	if err := w.flush(nil); err != nil {
		return 0, err
	}
	if w.err = w.extend(); w.err != nil {
		return 0, w.err
	}
	n, err := to.ReadFrom(from)
	w.written += n
	w.err = err
	return n, err
}

// SetWriteDeadline bounds the writing that follows (http.ResponseController).
func (w *response) SetWriteDeadline(by time.Time) error {
	w.by = by
	return nil
}

// finish ends the answer and says whether the connection can be used for another one.
func (w *response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.begun {
		w.begin(true)
	}
	if chunks, ok := w.body.(io.WriteCloser); ok {
		chunks.Close()                    //nolint:errcheck // the response keeps the error
		io.WriteString(socket{w}, "\r\n") //nolint:errcheck // the same
	}
	w.flush(nil) //nolint:errcheck // the same
	if cap(w.out) > 4*outBytes {
		w.out = nil
	}
	short := !w.head && w.hasBody() && w.declared >= 0 && w.written != w.declared
	return w.err == nil && !w.closes && !short
}

// socket is where the body goes once the head is complete.
type socket struct{ *response }

func (s socket) Write(p []byte) (int, error) {
	w := s.response
	if len(w.out)+len(p) <= outBytes {
		w.out = append(w.out, p...)
		return len(p), w.err
	}
	if err := w.flush(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes what is on its way, and next after it. After the first error nothing is written any more.
func (w *response) flush(next []byte) error {
	if w.err != nil || len(w.out)+len(next) == 0 {
		return w.err
	}
	if w.err = w.extend(); w.err != nil {
		return w.err
	}
	if len(next) == 0 {
		_, w.err = w.conn.net.Write(w.out)
	} else {
		pieces := net.Buffers{w.out, next}
		_, w.err = pieces.WriteTo(w.conn.net)
	}
	w.out = w.out[:0]
	return w.err
}

// extend moves the connection's deadline for writing to the handler's, or to what the server allows for a piece.
func (w *response) extend() error {
	stall := w.conn.server.stall
	by := w.by
	if by.IsZero() && stall > 0 {
		by = time.Now().Add(stall)
	}
	if !moves(w.conn.writeBy, by) {
		return nil
	}
	w.conn.writeBy = by
	return w.conn.net.SetWriteDeadline(by)
}
