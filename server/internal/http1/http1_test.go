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
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

// patience is how long a test waits for what should happen at once.
const patience = 20 * time.Second

// running is a server under test.
type running struct {
	*Server
	addr  string
	ended chan error
	// handedOver counts the connections that net/http was given.
	handedOver *atomic.Int64
	log        *testserver.Output
}

func start(t testing.TB, h http.Handler, adjust ...func(*http.Server, *time.Duration)) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{addr: l.Addr().String(), ended: make(chan error, 1), handedOver: &atomic.Int64{}, log: &testserver.Output{}}
	s := &http.Server{Handler: h, ReadHeaderTimeout: patience, IdleTimeout: patience, ErrorLog: log.New(r.log, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				r.handedOver.Add(1)
			}
		}}
	stall := patience
	for _, f := range adjust {
		f(s, &stall)
	}
	r.Server = New(s, stall)
	go func() { r.ended <- r.Serve(l) }()
	t.Cleanup(func() {
		r.Close()
		<-r.ended
	})
	return r
}

// anyConn is one of the connections that the server has; nil where there is none.
func (r *running) anyConn() *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		return c
	}
	return nil
}

// client is one connection, as a client has it.
type client struct {
	t testing.TB
	*net.TCPConn
	in *bufio.Reader
}

func (r *running) dial(t testing.TB) *client {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t, c.(*net.TCPConn), bufio.NewReader(c)}
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// hear reads an answer, and returns its body.
func (c *client) hear(method string) (*http.Response, string) {
	c.t.Helper()
	a, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(a.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return a, string(body)
}

// ends waits for the server to close the connection.
func (c *client) ends() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); err != nil && errors.Is(err, os.ErrDeadlineExceeded) || len(rest) > 0 {
		c.t.Fatalf("the connection goes on: %q, %v", rest, err)
	}
}

// echo answers with what it was asked.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %v", r.Method, r.URL, body, err)
})

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n" }

func TestRequestsOfOneConnectionInTurn(t *testing.T) {
	r := start(t, echo)
	c := r.dial(t)
	for i := range 3 {
		c.say(get(fmt.Sprint("/", i)))
		if _, body := c.hear("GET"); body != fmt.Sprintf("GET /%d  <nil>", i) {
			t.Fatal(body)
		}
	}
	if n := r.handedOver.Load(); n != 0 {
		t.Errorf("%d connections went to net/http", n)
	}
	// From here on net/http has the connection.
	c.say("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
	if _, body := c.hear("PUT"); body != "PUT /x hello <nil>" {
		t.Error(body)
	}
	c.say(get("/again"))
	if _, body := c.hear("GET"); body != "GET /again  <nil>" {
		t.Error(body)
	}
	if n := r.handedOver.Load(); n != 1 {
		t.Errorf("%d connections went to net/http, not 1", n)
	}
}

// What comes in one piece is answered one by one, whoever answers it.
func TestPipelining(t *testing.T) {
	r := start(t, echo)
	c := r.dial(t)
	c.say(get("/1") + get("/2") + "POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + get("/4"))
	for _, want := range []string{"GET /1  <nil>", "GET /2  <nil>", "POST /3 abc <nil>", "GET /4  <nil>"} {
		if _, body := c.hear("GET"); body != want {
			t.Errorf("%q, not %q", body, want)
		}
	}
}

func TestARequestInPieces(t *testing.T) {
	r := start(t, echo)
	c := r.dial(t)
	c.say(get("/whole"))
	c.hear("GET")
	for _, piece := range []string{"G", "ET /pieces HT", "TP/1.1\r", "\nHost: h\r\n\r", "\n"} {
		c.say(piece)
	}
	if _, body := c.hear("GET"); body != "GET /pieces  <nil>" {
		t.Error(body)
	}
}

// Heads that are not this package's to read: each goes to net/http as it came.
func TestWhatIsHandedOver(t *testing.T) {
	for name, text := range map[string]string{
		"a body":               "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
		"an empty body":        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"chunks":               "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"both":                 "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"another method":       "DELETE / HTTP/1.1\r\nHost: h\r\n\r\n",
		"HTTP/1.0":             "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
		"close":                "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"an upgrade":           "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
		"an expectation":       "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
		"no host":              "GET / HTTP/1.1\r\n\r\n",
		"two hosts":            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"a host that is none":  "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"a whole address":      "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
		"space before a colon": "GET / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\n",
		"a value with a NUL":   "GET / HTTP/1.1\r\nHost: h\r\nA: \x00\r\n\r\n",
		"a long head":          "GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", headBytes) + "\r\n\r\n",
		"no HTTP":              "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"a line alone":         "GET /\r\n\r\n",
	} {
		if _, _, ok := read([]byte(text)[:min(len(text), headBytes)]); ok {
			t.Errorf("%s: answered here", name)
		}
		r := start(t, echo)
		c := r.dial(t)
		c.say(text)
		c.CloseWrite()
		if _, err := io.ReadAll(c); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if n := r.handedOver.Load(); n != 1 {
			t.Errorf("%s: %d connections went to net/http, not 1", name, n)
		}
	}
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	began, finish := make(chan struct{}, 2), make(chan struct{})
	r := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			began <- struct{}{}
			<-finish
		}
		echo(w, r)
	}))
	waiting, slow, given := r.dial(t), r.dial(t), r.dial(t)
	waiting.say(get("/"))
	waiting.hear("GET")
	slow.say(get("/slow"))
	given.say("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
	<-began
	<-began

	ended := make(chan error, 1)
	go func() { ended <- r.Shutdown(context.Background()) }()
	waiting.ends() // it was idle
	if _, err := net.Dial("tcp", r.addr); err == nil {
		t.Error("still accepts")
	}
	select {
	case err := <-ended:
		t.Fatal("did not wait for what was in flight", err)
	default:
	}
	close(finish)
	for _, c := range []*client{slow, given} {
		a, body := c.hear("GET")
		if !strings.Contains(body, "/slow") || !a.Close {
			t.Errorf("%q, close %v", body, a.Close)
		}
		c.ends()
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := <-r.ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	r.ended <- nil // for the clean-up
}

// A request that is on its way while the server begins to drain is answered, here or by net/http.
func TestShutdownWaitsForNewConnections(t *testing.T) {
	for _, text := range []string{get("/"), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"} {
		r := start(t, echo)
		c := r.dial(t)
		testserver.Eventually(t, "the connection is accepted", patience, func() bool { return r.anyConn() != nil })
		ended := make(chan error, 1)
		go func() { ended <- r.Shutdown(context.Background()) }()
		testserver.Eventually(t, "the server drains", patience, r.draining.Load)
		c.say(text)
		if a, body := c.hear("GET"); a.StatusCode != http.StatusOK || !a.Close {
			t.Errorf("%d %q, close %v", a.StatusCode, body, a.Close)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestShutdownGivesUp(t *testing.T) {
	began := make(chan struct{})
	r := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}))
	c := r.dial(t)
	c.say(get("/"))
	<-began
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.Close()
	c.ends()
}

// A listener that fails for good ends the server, and its connections.
func TestAListenerThatFails(t *testing.T) {
	r := start(t, echo)
	c := r.dial(t)
	c.say(get("/"))
	c.hear("GET")
	r.mu.Lock()
	l := r.listener
	r.mu.Unlock()
	l.Close()
	err := <-r.ended
	if !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	c.ends()
	r.ended <- err
}

// Nothing of a server is left behind.
func TestCloseEndsEveryGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	r := start(t, echo)
	for i := range 20 {
		c := r.dial(t)
		if i%2 == 0 {
			c.say(get("/"))
		} else {
			c.say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		}
		c.hear("GET")
	}
	r.Close()
	err := <-r.ended
	r.ended <- err
	defer func() {
		if t.Failed() {
			buffer := make([]byte, 1<<20)
			t.Logf("%s", buffer[:runtime.Stack(buffer, true)])
		}
	}()
	testserver.Eventually(t, "no goroutine is left", patience, func() bool { return runtime.NumGoroutine() <= before })
}

func TestAClientThatGoesAwayCancels(t *testing.T) {
	for name, leave := range map[string]func(c *client){
		"closed":      func(c *client) { c.Close() },
		"reset":       func(c *client) { c.SetLinger(0); c.Close() },
		"half closed": func(c *client) { c.CloseWrite() },
	} {
		began, canceled := make(chan struct{}), make(chan struct{})
		r := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(began)
			<-r.Context().Done()
			close(canceled)
		}))
		c := r.dial(t)
		c.say(get("/"))
		<-began
		leave(c)
		select {
		case <-canceled:
		case <-time.After(patience):
			t.Errorf("%s: the request goes on", name)
		}
	}
}

// A request whose client has gone away does not hold up the end of the server.
func TestAClientThatGoesAwayWhileTheServerDrains(t *testing.T) {
	began := make(chan struct{})
	r := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}))
	c := r.dial(t)
	c.say(get("/"))
	<-began
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Shutdown(ctx) }()
	err := <-r.ended // the server accepts nothing more
	r.ended <- err
	c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A client that is there, and one that has sent its next request already, are not taken for gone.
func TestAClientThatWaitsIsLeftAlone(t *testing.T) {
	finish := make(chan struct{})
	r := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-finish:
			case <-r.Context().Done():
				w.WriteHeader(http.StatusTeapot)
			}
		}
	}))
	c := r.dial(t)
	c.say(get("/slow") + get("/next"))
	testserver.Eventually(t, "the request is being answered", patience, func() bool {
		only := r.anyConn()
		return only != nil && only.current.Load() != nil
	})
	only := r.anyConn()
	for range 100 {
		if gone(only) {
			t.Fatal("taken for gone")
		}
	}
	close(finish)
	for range 2 {
		if a, _ := c.hear("GET"); a.StatusCode != http.StatusOK {
			t.Error(a.Status)
		}
	}
}

// The server's deadline and the handler's own: whoever does not read is cut off.
func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	soon := 100 * time.Millisecond
	for name, test := range map[string]struct{ stall, own time.Duration }{
		"the server's":  {stall: soon},
		"the handler's": {stall: patience, own: soon},
	} {
		failed := make(chan error, 1)
		r := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var err error
			if test.own > 0 {
				err = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(test.own))
			}
			for err == nil {
				_, err = w.Write(make([]byte, 1<<20))
			}
			failed <- err
		}), func(_ *http.Server, stall *time.Duration) { *stall = test.stall })
		r.dial(t).say(get("/"))
		select {
		case err := <-failed:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(patience / 2):
			t.Errorf("%s: waits on", name)
		}
	}
}

func TestDeadlinesAreMovedSeldom(t *testing.T) {
	now := time.Now()
	at := now.Add
	for _, test := range []struct {
		set, by time.Time
		want    bool
	}{
		{time.Time{}, time.Time{}, false},
		{time.Time{}, at(time.Hour), true},
		{at(time.Hour), time.Time{}, true},
		{at(time.Hour), at(time.Hour), false},
		{at(time.Hour), at(time.Hour + time.Minute), false},
		{at(time.Hour), at(time.Hour + 5*time.Minute), true},
		{at(time.Hour), at(time.Minute), true},
		{at(time.Minute), at(2 * time.Minute), true}, // an hour's tolerance is not a minute's
		{at(-time.Hour), at(-time.Minute), true},     // both have passed
	} {
		if got := moves(test.set, test.by); got != test.want {
			t.Errorf("from %v to %v: %v", test.set.Sub(now), test.by.Sub(now), got)
		}
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	short := func(s *http.Server, _ *time.Duration) {
		s.IdleTimeout, s.ReadHeaderTimeout = time.Millisecond, time.Millisecond
	}
	c := start(t, echo, short).dial(t)
	c.ends() // has never said anything
	c = start(t, echo, func(s *http.Server, _ *time.Duration) { s.IdleTimeout = time.Millisecond }).dial(t)
	c.say(get("/"))
	c.hear("GET")
	c.ends()
	// A head that does not end is net/http's to wait for.
	c = start(t, echo, func(s *http.Server, _ *time.Duration) { s.ReadHeaderTimeout = 50 * time.Millisecond }).dial(t)
	c.say("GET / HTTP/1.1\r\nHost:")
	c.ends()
}

func TestAPanicEndsTheConnectionAlone(t *testing.T) {
	r := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, heldBytes+1))
		switch r.URL.Path {
		case "/panic":
			panic("oh no")
		case "/abort":
			panic(http.ErrAbortHandler)
		}
	}))
	for _, path := range []string{"/panic", "/abort"} {
		c := r.dial(t)
		c.say(get(path))
		if a, err := http.ReadResponse(c.in, nil); err == nil {
			if _, err = io.ReadAll(a.Body); err == nil {
				t.Errorf("%s: the answer looks whole", path)
			}
		}
	}
	if said := r.log.String(); strings.Count(said, "panic serving") != 1 || !strings.Contains(said, "oh no") || !strings.Contains(said, "http1_test.go") {
		t.Errorf("the log says %q", said)
	}
	c := r.dial(t)
	c.say(get("/"))
	c.hear("GET")
}

func TestALengthThatIsNone(t *testing.T) {
	r := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "-1")
		io.WriteString(w, "hello")
	}))
	c := r.dial(t)
	for range 2 {
		c.say(get("/"))
		if _, body := c.hear("GET"); body != "hello" {
			t.Errorf("%q", body)
		}
	}
	if said := r.log.String(); !strings.Contains(said, `invalid Content-Length of "-1"`) {
		t.Errorf("the log says %q", said)
	}
}

// A file goes out whole, by whichever way.
func TestAFile(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "text/plain")
		http.ServeContent(w, r, "", time.Time{}, f)
	}))
	c := r.dial(t)
	for _, test := range []struct {
		method, more string
		want         []byte
	}{
		{"GET", "", content},
		{"HEAD", "", nil},
		{"GET", "Range: bytes=5-99\r\n", content[5:100]},
		{"GET", "Range: bytes=-700000\r\n", content[len(content)-700000:]},
	} {
		c.say(test.method + " / HTTP/1.1\r\nHost: h\r\n" + test.more + "\r\n")
		if _, body := c.hear(test.method); body != string(test.want) {
			t.Errorf("%s %s: %d bytes, not %d, or others", test.method, test.more, len(body), len(test.want))
		}
	}
}

// BenchmarkAnswers sets this package beside net/http: one client, small answers with as many headers as a registry's.
func BenchmarkAnswers(b *testing.B) {
	names := strings.Fields("Content-Security-Policy Content-Type Docker-Content-Digest Docker-Distribution-Api-Version Etag Packregistry-Version " +
		"Referrer-Policy Strict-Transport-Security X-Content-Type-Options X-Frame-Options X-Request-Id X-Xss-Protection")
	value := []string{"something of some length"}
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range names {
			w.Header()[name] = value
		}
		w.Write(make([]byte, 700))
	})
	run := func(b *testing.B, addr string) {
		b.Helper()
		c := (&running{addr: addr}).dial(b)
		c.SetDeadline(time.Time{})
		answer := make([]byte, 4<<10)
		for b.Loop() {
			c.say(get("/v2/name/manifests/tag"))
			if _, err := c.Read(answer); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("http1", func(b *testing.B) { run(b, start(b, h).addr) })
	b.Run("net-http", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := &http.Server{Handler: h, ReadHeaderTimeout: patience}
		go s.Serve(l)
		defer s.Close()
		run(b, l.Addr().String())
	})
}
