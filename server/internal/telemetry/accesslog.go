package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// CombinedLog writes a line for each request in Apache's combined format, as distribution does.
type CombinedLog struct {
	W  io.Writer
	mu sync.Mutex
}

// Write writes the line of a request: who sent it, what it was answered with, and how many bytes.
func (l *CombinedLog) Write(r *http.Request, client netip.Addr, user string, status int, sent int64) {
	line := fmt.Sprintf("%s - %s [%s] \"%s %s %s\" %d %s \"%s\" \"%s\"\n", client, orDash(escapeLog(user)),
		time.Now().Format("02/Jan/2006:15:04:05 -0700"), escapeLog(r.Method), escapeLog(r.URL.RequestURI()), r.Proto, status, bytesOrDash(sent),
		orDash(escapeLog(r.Referer())), orDash(escapeLog(Clip(r.UserAgent()))))
	l.mu.Lock()
	defer l.mu.Unlock()
	io.WriteString(l.W, line) //nolint:errcheck // there is nowhere to say so
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
