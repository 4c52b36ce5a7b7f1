package transfer

import (
	"io"
	"net/http"
	"time"
)

// Who is sent something that takes a place which others wait for must take it at some pace: minRate bytes a second on
// average, after paceGrace. The time that the server itself takes does not count.
const (
	minRate   = 32 << 10
	paceGrace = 15 * time.Second
)

// pacedWriter bounds how long a client may take for all that is written to it, where Writer bounds each write.
type pacedWriter struct {
	to *Writer
	// n is how much was written, and blocked how long that took.
	n       int64
	blocked time.Duration
}

func (p *pacedWriter) Write(b []byte) (int, error) {
	began := time.Now()
	p.n += int64(len(b))
	left := paceGrace + time.Duration(float64(p.n)/minRate*float64(time.Second)) - p.blocked
	progress := &p.to.progress
	if progress.timeout > 0 {
		left = min(left, progress.timeout)
	}
	progress.set(progress.w, began.Add(left)) //nolint:errcheck // a connection that has no deadlines works without
	progress.last = began                     // so that Writer does not move the deadline
	n, err := p.to.Write(b)
	p.blocked += time.Since(began)
	return n, err
}

// Around is what writes to a client go through.
type Around interface{ Writer(to io.Writer) io.Writer }

// CopyPaced sends content to a client that must keep pace. around may be nil.
func CopyPaced(w http.ResponseWriter, content io.Reader, around Around) error {
	var paced io.Writer = w
	if to, ok := w.(*Writer); ok {
		paced = &pacedWriter{to: to}
	}
	if around != nil {
		paced = around.Writer(paced)
	}
	buffer := buffers.Get().(*[128 << 10]byte) //nolint:forcetypeassert // nothing else is put there
	defer buffers.Put(buffer)
	_, err := io.CopyBuffer(struct{ io.Writer }{paced}, struct{ io.Reader }{content}, buffer[:])
	return err
}
