// Package transfer moves the content of requests and answers, with deadlines that move with progress: a client may take hours
// over a large pack, but not stop in the middle and keep the connection.
//
//	transfer.go   Body is what a client sends, Writer what it is sent
//	pace.go       sending what takes a place that others wait for
//	ranges.go     sending the pieces of content that a client asks for, if they are few
package transfer

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Why the content of a request is read no further.
var (
	// ErrStalled says that nothing came for as long as http.limits.stalltimeout.
	ErrStalled = errors.New("the request stopped in the middle")
	// ErrSlow says that on average less came than http.limits.minrate bytes a second.
	ErrSlow = errors.New("the request's content came too slowly (http.limits.minrate)")
)

// progress moves a deadline. It does so seldom, since each move is a call into the runtime's timers.
type progress struct {
	timeout time.Duration
	w       http.ResponseWriter
	set     func(w http.ResponseWriter, by time.Time) error
	last    time.Time
}

// The two deadlines of a connection.
func setReadDeadline(w http.ResponseWriter, by time.Time) error {
	return http.NewResponseController(w).SetReadDeadline(by)
}

func setWriteDeadline(w http.ResponseWriter, by time.Time) error {
	return http.NewResponseController(w).SetWriteDeadline(by)
}

// move gives the transfer its whole time again.
func (p *progress) move() {
	if now := time.Now(); p.timeout > 0 && now.Sub(p.last) > p.timeout/16 {
		p.last = now
		p.set(p.w, now.Add(p.timeout)) //nolint:errcheck // a connection that has no deadlines works without
	}
}

// stop takes the deadline away.
func (p *progress) stop() {
	if !p.last.IsZero() {
		p.last = time.Time{}
		p.set(p.w, time.Time{}) //nolint:errcheck // see above
	}
}

// Body is what a client sends, if anything: counted, and with a deadline for each part of it. Init makes it ready.
type Body struct {
	io.ReadCloser
	n int64
	// err is why the content could not be read to its end.
	err      error
	progress progress
	// rate is how many bytes a second must come on average; blocked is how long they were waited for.
	rate    int
	blocked time.Duration
}

// Init makes b the body of a request that w answers. rate is how many bytes a second must come on average; 0 for any.
func (b *Body) Init(w http.ResponseWriter, body io.ReadCloser, timeout time.Duration, rate int) {
	*b = Body{ReadCloser: body, progress: progress{timeout: timeout, w: w, set: setReadDeadline}, rate: rate}
}

// Expect sets the first deadline. Call it where there is content, which net/http waits for even where nobody reads it.
func (b *Body) Expect() { b.progress.move() }

// Received is how many bytes came.
func (b *Body) Received() int64 { return b.n }

// Err is why the content could not be read to its end; nil where it was not the connection's or the client's fault.
func (b *Body) Err() error { return b.err }

// bodyGrace is how long content may come at any rate.
const bodyGrace = 30 * time.Second

// slow says whether less came than must. The time that the server itself takes does not count.
func (b *Body) slow() bool {
	return b.rate > 0 && b.blocked > bodyGrace+time.Duration(float64(b.n)/float64(b.rate)*float64(time.Second))
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	b.progress.move()
	began := time.Now()
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	b.blocked += time.Since(began)
	switch {
	case err == nil && b.slow():
		// The server would wait for the rest of the body before it answers.
		b.progress.set(b.progress.w, time.Now()) //nolint:errcheck // a connection that has no deadlines works without
		return n, ErrSlow
	case errors.Is(err, os.ErrDeadlineExceeded):
		// The deadline stays: the server would wait for the rest of the body before it answers.
		return n, ErrStalled
	case err != nil:
		if !errors.Is(err, io.EOF) {
			b.err = err
		}
		// The server goes on watching the connection after the last byte: a deadline would look like its end.
		b.progress.stop()
	}
	return n, err
}

// HungUp says whether the connection ended before the content did.
func (b *Body) HungUp() bool {
	_, network := errors.AsType[net.Error](b.err)
	return network || errors.Is(b.err, io.ErrUnexpectedEOF)
}

// Writer sends an answer, with a deadline for each part of it, and notes what was sent. Init makes it ready.
type Writer struct {
	http.ResponseWriter
	status   int
	n        int64
	progress progress
}

// Init makes w send to another one.
func (w *Writer) Init(to http.ResponseWriter, timeout time.Duration) {
	*w = Writer{ResponseWriter: to, progress: progress{timeout: timeout, w: to, set: setWriteDeadline}}
}

// End leaves a deadline for what net/http has not sent yet, which is the whole of a small answer. idle is how long a connection waits for
// its next request: the deadline is later than that, so that the next request has begun, or the connection has ended, before it passes.
func (w *Writer) End(idle time.Duration) {
	if p := &w.progress; p.timeout > 0 {
		p.last = time.Time{}
		p.set(p.w, time.Now().Add(idle+p.timeout)) //nolint:errcheck // see above
	}
}

// Wrote says whether an answer has begun.
func (w *Writer) Wrote() bool { return w.status != 0 }

// Sent is how many bytes of content were sent.
func (w *Writer) Sent() int64 { return w.n }

// Code is the answer's status.
func (w *Writer) Code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// WriteHeader implements http.ResponseWriter.
func (w *Writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.progress.move()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	w.status = w.Code()
	w.progress.move()
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// filePiece is how much of a file is sent with one deadline: so little that a client which has become slow still takes it in time.
const filePiece = 256 << 10

// buffers are what content that is no file passes through on its way to the socket.
var buffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// ReadFrom keeps the way open by which the kernel sends a file to a socket. Content that is no file is written from a
// buffer: net/http would else send the headers in a packet of their own.
func (w *Writer) ReadFrom(from io.Reader) (int64, error) {
	limit := int64(-1)
	if l, ok := from.(*io.LimitedReader); ok {
		from, limit = l.R, l.N
	}
	f, ok := from.(interface{ OSFile() *os.File })
	if !ok {
		if limit >= 0 {
			from = io.LimitReader(from, limit)
		}
		buffer := buffers.Get().(*[128 << 10]byte) //nolint:forcetypeassert // nothing else is put there
		defer buffers.Put(buffer)
		return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{from}, buffer[:])
	}
	return w.sendFile(f.OSFile(), limit)
}

// sendFile sends a file, or limit bytes of it where that is not negative.
func (w *Writer) sendFile(from *os.File, limit int64) (int64, error) {
	w.status = w.Code()
	var total int64
	for limit < 0 || total < limit {
		w.progress.move()
		size := int64(filePiece)
		if limit >= 0 {
			size = min(size, limit-total)
		}
		n, err := io.Copy(w.ResponseWriter, &io.LimitedReader{R: from, N: size})
		total += n
		w.n += n
		if err != nil || n < size {
			return total, err
		}
	}
	return total, nil
}

// Unwrap lets http.ResponseController reach the connection.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
