// Package http1 answers the GET and HEAD requests that come over plain HTTP/1.1, and hands every other one to net/http,
// together with its connection.
//
// It is there because of what net/http does around a small answer: a goroutine that watches the connection, six deadlines,
// a copy of the header map that is then sorted. That is more work than the registry's own for a manifest that it remembers
// (docs/performance.md has the figures). A proxy that ends TLS before the registry talks to it this way.
//
// What makes a server of HTTP dangerous is reading requests, so this package does not do that itself:
//
//   - Requests are read by http.ReadRequest, which is net/http's own parser. Two parsers never see the same bytes
//     differently, since there is one.
//   - It refuses nothing. A request that has a body (whatever Content-Length or Transfer-Encoding say), asks for something
//     else than an answer, is not read without an error, or does not come whole in the first piece, goes to net/http as the
//     bytes that it is, to be answered or refused there; and the connection stays there.
//   - What it answers is what net/http would have answered to the same bytes with the same handler. FuzzSame holds it to
//     that.
//
// Connections with TLS never come here: http.Server serves them.
//
//	http1.go     accepting, and ending without dropping what is in flight
//	conn.go      one connection: a request, its answer, the next
//	request.go   which requests are answered here
//	response.go  the http.ResponseWriter
//	watch.go     noticing that a client has gone away
package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves plain HTTP/1.1. Make it with New.
type Server struct {
	http *http.Server
	// stall is how long a client may not read before its connection is closed; zero for any time.
	stall time.Duration

	listener net.Listener
	handed   handed
	// draining is true from Shutdown on: whatever is answered is the last on its connection.
	draining atomic.Bool
	// ended is closed by end when nothing is in flight any more, or what is has been cut off.
	ended chan struct{}
	end   func()

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// New returns a server with the handler, the idle and header timeouts, and the log of s, which gets the connections that
// are handed over. Hooks of s that tell of connections (ConnState, ConnContext) hear of those alone. stall bounds how long
// writing a piece of an answer may take; zero is no bound.
func New(s *http.Server, stall time.Duration) *Server {
	ended := make(chan struct{})
	return &Server{http: s, stall: stall, conns: map[*conn]struct{}{}, ended: ended, end: sync.OnceFunc(func() { close(ended) })}
}

// Serve accepts connections until Shutdown or Close, and returns http.ErrServerClosed then.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listener = l
	s.handed = handed{addr: l.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})}
	s.mu.Unlock()
	if s.draining.Load() {
		return errors.Join(l.Close(), http.ErrServerClosed)
	}
	done := make(chan struct{})
	go func() {
		s.http.Serve(&s.handed) //nolint:errcheck // it ends when it is closed, and says so
		close(done)
	}()
	go s.watch()
	err := s.accept(l)
	if s.draining.Load() {
		return http.ErrServerClosed
	}
	err = errors.Join(err, s.Close())
	<-done
	return err
}

// accept starts a goroutine for each connection. Running out of files passes, so it is waited for, as net/http does.
func (s *Server) accept(l net.Listener) error {
	const longest = time.Second
	pause := time.Duration(0)
	for {
		c, err := l.Accept()
		if err == nil {
			pause = 0
			s.start(c)
			continue
		}
		passing, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err)
		if !ok || !passing.Temporary() || s.draining.Load() {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), longest)
		s.logf("http: Accept error: %v; retrying in %v", err, pause)
		<-time.After(pause)
	}
}

func (s *Server) start(n net.Conn) {
	c := newConn(s, n)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	go c.serve()
}

// Shutdown stops accepting, closes idle connections and waits for what is in flight, here and in net/http. It returns the
// context's error where that ends first; Close cuts off the rest then.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopAccepting()
	// What has been handed over ends after the answer at hand, but the way over stays open: a request that is being read
	// here may still need it.
	s.http.SetKeepAlivesEnabled(false)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for wait := time.Millisecond; !s.closeIdle(); wait = min(2*wait, 500*time.Millisecond) {
		pause.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
	}
	s.end()
	return s.http.Shutdown(ctx)
}

// Close closes every connection at once.
func (s *Server) Close() error {
	s.stopAccepting()
	s.end()
	s.mu.Lock()
	for c := range s.conns {
		c.net.Close() //nolint:errcheck // nobody waits for what was in flight
	}
	s.mu.Unlock()
	return s.http.Close()
}

func (s *Server) stopAccepting() {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close() //nolint:errcheck // it is closed, or was
	}
}

// newbornGrace is how long a connection may take to send its first request although the server drains, as in net/http.
const newbornGrace = 5 * time.Second

// closeIdle closes the connections that wait for a request, and says whether none is left.
func (s *Server) closeIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.served.Load() || time.Since(c.accepted) > newbornGrace {
			if c.state.CompareAndSwap(idle, ended) {
				c.net.Close() //nolint:errcheck // there was nothing on it
			}
		}
	}
	return len(s.conns) == 0
}

// forget ends the server's interest in a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) logf(format string, args ...any) {
	if s.http.ErrorLog != nil {
		s.http.ErrorLog.Printf(format, args...)
	}
}

// handed is the listener of which net/http accepts what is handed over.
type handed struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *handed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *handed) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *handed) Addr() net.Addr { return l.addr }

// give hands a connection over, with what has been read of it. Nobody takes it any more after Close.
func (l *handed) give(c net.Conn, read []byte) {
	select {
	case l.conns <- &resumed{Conn: c, read: read}:
	case <-l.closed:
		c.Close() //nolint:errcheck // the server has been closed
	}
}

// resumed is a connection of which something has been read. Beside net.Conn it has what net/http looks for in a connection.
type resumed struct {
	net.Conn
	read []byte
}

// ReadFrom lets the system send a file by itself, where it can.
func (c *resumed) ReadFrom(from io.Reader) (int64, error) { return io.Copy(c.Conn, from) }

// CloseWrite lets the other end read an answer before it hears that the connection has ended.
func (c *resumed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *resumed) Read(p []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.read)
	c.read = c.read[n:]
	return n, nil
}
