package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

// wire is one HTTP/1.1 connection that does nothing but write requests and read answers. net/http's client takes more of
// the processor than the servers that are measured here.
type wire struct {
	conn   net.Conn
	in     *bufio.Reader
	host   string
	prefix string
	auth   string
	out    []byte
}

// answer is what is looked at of an answer.
type answer struct {
	status   int
	location string
	// n is how many bytes its body had.
	n int64
	// body is kept where the caller asked for it.
	body []byte
}

// users of the registries that ask for a password.
const (
	benchUser     = "bench"
	benchPassword = "correct horse battery staple"
)

func dial(ctx context.Context, target string, secured *tls.Config, withAuth bool) (*wire, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	var dialer interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{}
	switch {
	case u.Scheme == "https" && secured != nil:
		dialer = &tls.Dialer{Config: secured}
	case u.Scheme != "http":
		return nil, fmt.Errorf("%s: a peer is measured over http alone", target)
	}
	conn, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	w := &wire{conn: conn, in: bufio.NewReaderSize(conn, 256<<10), host: u.Host, prefix: strings.TrimSuffix(u.Path, "/")}
	if withAuth {
		w.auth = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(benchUser+":"+benchPassword)) + "\r\n"
	}
	return w, nil
}

// send makes a request. extra are whole header lines, each with its end of line. The body's parts are written as they
// are. An answer of another status than want is an error.
func (w *wire) send(want int, method, path, extra string, body ...[]byte) (answer, error) {
	return w.exchange(want, method, path, extra, false, body)
}

// fetch is send that keeps the answer's body.
func (w *wire) fetch(want int, method, path string) (answer, error) {
	return w.exchange(want, method, path, "", true, nil)
}

func (w *wire) exchange(want int, method, path, extra string, keep bool, body [][]byte) (answer, error) {
	length := 0
	for _, part := range body {
		length += len(part)
	}
	w.out = append(w.out[:0], method...)
	w.out = append(append(append(w.out, ' '), w.prefix...), path...)
	w.out = append(append(w.out, " HTTP/1.1\r\nHost: "...), w.host...)
	w.out = append(append(append(w.out, "\r\n"...), w.auth...), extra...)
	if method != "GET" && method != "HEAD" {
		w.out = strconv.AppendInt(append(w.out, "Content-Length: "...), int64(length), 10)
		w.out = append(w.out, "\r\n"...)
	}
	w.out = append(w.out, "\r\n"...)
	buffers := net.Buffers(append([][]byte{w.out}, body...))
	if _, err := buffers.WriteTo(w.conn); err != nil {
		return answer{}, err
	}
	a, err := w.read(method, keep)
	if err == nil && a.status != want {
		err = fmt.Errorf("%s %s: answered %d, not %d: %.300s", method, path, a.status, want, a.body)
	}
	return a, err
}

func (w *wire) read(method string, keep bool) (answer, error) { //nolint:gocyclo // a reader of answers that allocates nothing, in one piece
	var a answer
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return a, err
	}
	if len(line) < 12 {
		return a, fmt.Errorf("no HTTP answer: %q", line)
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, fmt.Errorf("no HTTP answer: %q", line)
	}
	length, chunked := int64(0), false
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return a, err
		}
		if len(line) <= 2 {
			break
		}
		switch {
		case named(line, "Content-Length:"):
			if length, err = strconv.ParseInt(value(line), 10, 64); err != nil {
				return a, err
			}
		case named(line, "Location:"):
			a.location = value(line)
		case named(line, "Transfer-Encoding:"):
			chunked = true
		}
	}
	if method == "HEAD" {
		return a, nil
	}
	if !keep && !chunked && a.status < 300 && length <= int64(w.in.Buffered()) {
		n, err := w.in.Discard(int(length))
		a.n = int64(n)
		return a, err
	}
	body := io.LimitReader(w.in, length)
	if chunked {
		body = httputil.NewChunkedReader(w.in)
	}
	if keep || a.status >= 300 {
		a.body, err = io.ReadAll(body)
		a.n = int64(len(a.body))
	} else {
		a.n, err = io.Copy(io.Discard, body)
	}
	if err == nil && chunked {
		_, err = w.in.Discard(2)
	}
	if err == nil && !chunked && a.n != length {
		err = io.ErrUnexpectedEOF
	}
	return a, err
}

// named says whether a line of an answer is the header of that name, which ends in a colon. Nothing is allocated: what the
// load generator takes of the processor, the servers it measures lack.
func named(line []byte, name string) bool {
	return len(line) > len(name) && line[0]|0x20 == name[0]|0x20 && strings.EqualFold(string(line[:len(name)]), name)
}

// value is what a header's line says.
func value(line []byte) string {
	_, value, _ := bytes.Cut(line, []byte(":"))
	return string(bytes.TrimSpace(value))
}

// path is the path and query of a Location, which may be absolute.
func (w *wire) path(location string) (string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(u.RequestURI(), w.prefix), nil
}

func (w *wire) close() { w.conn.Close() } //nolint:errcheck // it is done with
