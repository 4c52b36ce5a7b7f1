package main

import (
	"bufio"
	"context"
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

func dial(ctx context.Context, target string, withAuth bool) (*wire, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" {
		return nil, fmt.Errorf("%s: only http is measured", target)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
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

func (w *wire) read(method string, keep bool) (answer, error) {
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
		switch name, value, _ := strings.Cut(string(line), ":"); {
		case strings.EqualFold(name, "Content-Length"):
			if length, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				return a, err
			}
		case strings.EqualFold(name, "Location"):
			a.location = strings.TrimSpace(value)
		case strings.EqualFold(name, "Transfer-Encoding"):
			chunked = true
		}
	}
	if method == "HEAD" {
		return a, nil
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

// path is the path and query of a Location, which may be absolute.
func (w *wire) path(location string) (string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(u.RequestURI(), w.prefix), nil
}

func (w *wire) close() { w.conn.Close() } //nolint:errcheck // it is done with
