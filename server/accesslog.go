package server

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// combinedLog writes a line for each request in Apache's combined format, as distribution does.
type combinedLog struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *combinedLog) write(r *request, w *recorder) {
	if r.route == "/health" {
		return // probes come every few seconds
	}
	line := fmt.Sprintf("%s - %s [%s] \"%s %s %s\" %d %s \"%s\" \"%s\"\n", r.client.Addr, orDash(escapeLog(r.user)),
		time.Now().Format("02/Jan/2006:15:04:05 -0700"), escapeLog(r.Method), escapeLog(r.URL.RequestURI()), r.Proto, w.code(), bytesOrDash(w.n),
		orDash(escapeLog(r.Referer())), orDash(escapeLog(clip(r.UserAgent()))))
	l.mu.Lock()
	defer l.mu.Unlock()
	io.WriteString(l.w, line) //nolint:errcheck // there is nowhere to say so
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func bytesOrDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// escapeLog keeps what a client sends from ending a field or a line.
func escapeLog(s string) string {
	var b strings.Builder
	for _, r := range []byte(s) {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteByte(r)
		case r < ' ' || r >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteByte(r)
		}
	}
	return b.String()
}
