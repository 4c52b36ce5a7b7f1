package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is a handler that tells in a header how it understood the request, and then does what each character of the path
// says.
var program = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	var seen []string
	for name, values := range r.Header {
		seen = append(seen, fmt.Sprintf("%s=%q", name, values))
	}
	slices.Sort(seen)
	h := w.Header()
	h.Set("X-Seen", fmt.Sprintf("%s %q %q %q %q %d %v %v %v %v", r.Method, r.URL, r.RequestURI, r.Host, r.Proto, r.ContentLength, r.TransferEncoding, r.Close, r.Trailer, seen))
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		h.Set("X-Body", err.Error())
	}
	for _, c := range r.URL.Path {
		switch c {
		case 'w':
			io.WriteString(w, "0123456789")
		case 'x':
			io.WriteString(w, "<html>")
		case 'W':
			w.Write(bytes.Repeat([]byte("0123456789"), 300))
		case 'z':
			w.Write(nil)
		case 'f':
			io.Copy(w, &io.LimitedReader{R: strings.NewReader("0123456789"), N: 10})
		case 'h':
			h.Add("X-Header", " some value ")
		case 'n':
			h.Set("X-Lines", "one\r\nTwo: two\n")
		case 'i':
			h["not a name:"] = []string{"x"}
		case 'E':
			h["X-Empty"] = nil
		case 'c':
			h.Set("Content-Length", "10")
		case 'C':
			h.Set("Content-Length", "3000")
		case '0':
			h.Set("Content-Length", "0")
		case 't':
			h.Set("Content-Type", "text/x-test")
		case 'T':
			h["Content-Type"] = nil
		case 'e':
			h.Set("Content-Encoding", "gzip")
		case 'd':
			h.Set("Date", "today")
		case 'D':
			h["Date"] = nil
		case 'k':
			h.Set("Connection", "close")
		case '1':
			w.WriteHeader(299)
		case '2':
			w.WriteHeader(http.StatusNoContent)
		case '3':
			w.WriteHeader(http.StatusNotModified)
		case '4':
			w.WriteHeader(http.StatusNotFound)
		}
	}
})

// said is what can be told of an answer.
type said struct {
	Status   string
	Header   http.Header
	Length   int64
	Encoding []string
	Close    bool
	Body     string
	Err      string
}

// talk sends text to a server in one piece and returns all of its answers.
func talk(t testing.TB, addr string, text []byte) (list []said) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Write(text)
	if err == nil {
		err = conn.(*net.TCPConn).CloseWrite()
	}
	all, readErr := io.ReadAll(conn)
	if err = errors.Join(err, readErr); errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		t.Skip("the server closed before it had read everything, so its answers may be lost")
	}
	if err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewReader(bytes.NewReader(all)); ; {
		if _, err := in.Peek(1); err != nil {
			return list
		}
		method := http.MethodGet
		head, _ := in.Peek(in.Buffered())
		if end := bytes.Index(head, endOfHead); end >= 0 && bytes.Contains(head[:end], []byte("\r\nX-Seen: HEAD ")) {
			method = http.MethodHead
		}
		a, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return append(list, said{Err: err.Error()})
		}
		body, err := io.ReadAll(a.Body)
		if _, dated := a.Header["Date"]; dated && a.Header.Get("Date") != "today" {
			a.Header.Set("Date", "some day")
		}
		list = append(list, said{a.Status, a.Header, a.ContentLength, a.TransferEncoding, a.Close, string(body), fmt.Sprint(err)})
	}
}

// both starts this package's server and one of net/http's.
func both(t testing.TB) (ours, theirs string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: program, ReadHeaderTimeout: patience, ErrorLog: log.New(io.Discard, "", 0)}
	go s.Serve(l) //nolint:errcheck // it is closed
	t.Cleanup(func() { s.Close() })
	return start(t, program).addr, l.Addr().String()
}

var conversations = []string{
	get("/w"), get("/"), get("/W"), get("/ww"), get("/wW"), get("/xW"), get("/Ww"), get("/WW"), get("/z"), get("/zw"), get("/x"), get("/f"), get("/ctf"), get("/CtfW"),
	get("/hhw"), get("/nw"), get("/iw"), get("/Ew"), get("/cw"), get("/cW"), get("/CW"), get("/Cw") + get("/w"), get("/0"), get("/0w"),
	get("/tw"), get("/Tw"), get("/ew"), get("/dw"), get("/Dw"), get("/kw") + get("/w"), get("/kW") + get("/w"),
	get("/1w"), get("/2w"), get("/3w"), get("/3"), get("/t3"), get("/c3"), get("/4w"), get("/44"), get("/4hw"), get("/c2"), get("/cw2"),
	"HEAD /w HTTP/1.1\r\nHost: h\r\n\r\n" + get("/w"), "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + get("/w"), "HEAD /W HTTP/1.1\r\nHost: h\r\n\r\n" + get("/w"),
	"HEAD /cW HTTP/1.1\r\nHost: h\r\n\r\n" + get("/w"), "HEAD /cf HTTP/1.1\r\nHost: h\r\n\r\n" + get("/w"), "HEAD /3x HTTP/1.1\r\nHost: h\r\n\r\n" + get("/w"),
	get("/w?a=b&c=%20d"), get("//w"), get("/%77/%2f"), get("/w#f"), get("/%zz"), get("/w w"), get("w"), get("*"), get("http://other/w"), get("/w\xff"), get("/w\x00"),
	"GET /w HTTP/1.1\r\nHost: h\r\nA: b\r\n  c\r\nD: e\r\nd: f\r\n\r\n" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: h\r\nPragma: no-cache\r\n\r\n",
	"GET /w HTTP/1.1\r\nHost: h\r\nconnection: Keep-Alive\r\n\r\n" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, close\r\n\r\n" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n" + get("/w"),
	"GET /w HTTP/1.1\nHost: h\n\n" + get("/w"), "GET /w HTTP/1.1\nHost: h\n\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /w HTTP/1.1\rHost: h\r\n\r\n", "GET /w HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", "GET /w HTTP/1.1\r\n Host: h\r\n\r\n", "GET /w HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n",
	"GET /w HTTP/1.1\r\nHost:\r\n\r\n", "GET /w HTTP/1.1\r\n\r\n", "GET /w HTTP/1.0\r\n\r\n", "GET /w HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /w HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET /w HTTP/1.10\r\nHost: a\r\n\r\n", "GET /w HTTP/2.0\r\nHost: a\r\n\r\n", "GET  /w HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /w HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n" + get("/w"), "GET /w HTTP/1.1\r\nHost: h\r\nExpect: more\r\n\r\n" + get("/w"),
	"GET /w HTTP/1.1\r\nHost: h\r\nTrailer: A\r\n\r\n" + get("/w"), "GET /w HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n" + get("/w"),
	"POST /w HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" + get("/w"), get("/w") + "PUT /w HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhello",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /w HTT", "", "\r\n\r\n", "\r\n" + get("/w"), "GET /\r\n\r\n",
}

// FuzzSame says the same bytes to this package's server and to net/http's, and expects the same answers.
func FuzzSame(f *testing.F) {
	for _, text := range conversations {
		f.Add([]byte(text))
	}
	ours, theirs := both(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > headBytes {
			return // comes in several pieces
		}
		want, got := talk(t, theirs, text), talk(t, ours, text)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q\n is answered with %+v\nby net/http with %+v", text, got, want)
		}
	})
}
