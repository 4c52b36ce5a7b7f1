package http1

import (
	"context"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// States of a connection. Whoever brings it from idle to another has the say over it.
const (
	idle  int32 = iota // waits for a request
	busy               // answers one
	ended              // was closed while it waited
)

// headBytes is how long the head of a request may be; a longer one goes to net/http. Clients of registries send 200 to
// 1,000 bytes.
const headBytes = 4 << 10

// conn is one connection, and what is reused from one request on it to the next.
type conn struct {
	server   *Server
	net      net.Conn
	remote   string
	values   context.Context //nolint:containedctx // what the contexts of its requests begin with, as in net/http
	accepted time.Time
	state    atomic.Int32
	// served says that there has been a request.
	served atomic.Bool
	// current is the request that is being answered, for those who look at the connection from outside.
	current atomic.Pointer[exchange]

	in [headBytes]byte
	n  int // how much of in has been read and not used
	// readBy and writeBy are the deadlines as they are set.
	readBy, writeBy time.Time
	answer          response
}

// exchange is a request that is being answered.
type exchange struct {
	began  time.Time
	cancel context.CancelFunc
}

func newConn(s *Server, n net.Conn) *conn {
	c := &conn{server: s, net: n, remote: n.RemoteAddr().String(), accepted: time.Now()}
	c.values = context.WithValue(context.WithValue(context.Background(), http.ServerContextKey, s.http), http.LocalAddrContextKey, n.LocalAddr())
	c.answer = response{conn: c, header: http.Header{}}
	return c
}

// serve answers requests until one is not for this package, or the connection ends.
func (c *conn) serve() {
	defer c.server.forget(c)
	for c.await() {
		r, used, ok := read(c.in[:c.n])
		if !ok {
			c.handOver()
			return
		}
		c.n = copy(c.in[:], c.in[used:c.n])
		if !c.exchange(r) || c.server.draining.Load() {
			break
		}
	}
	c.net.Close() //nolint:errcheck // nobody is left to tell
}

// await waits for a request and says whether one has begun to come. After the first one that takes four bytes, as in
// net/http: a stray line end is no request.
func (c *conn) await() bool {
	timeout, least := c.server.http.IdleTimeout, 4
	if !c.served.Load() {
		timeout, least = c.server.http.ReadHeaderTimeout, 1
	}
	if c.n >= least {
		return true // it came with the one before
	}
	c.state.Store(idle)
	if timeout > 0 {
		if by := time.Now().Add(timeout); moves(c.readBy, by) {
			c.readBy = by
			if c.net.SetReadDeadline(by) != nil {
				return false
			}
		}
	}
	for c.n < least {
		n, err := c.net.Read(c.in[c.n:])
		c.n += n
		if err != nil {
			return false
		}
	}
	return c.state.CompareAndSwap(idle, busy)
}

// moves says whether a deadline that stands at set is to be moved to by. Each move is a call into the runtime's timers, so
// it is left out where the deadline would come early by no more than a sixteenth of the time until it.
func moves(set, by time.Time) bool {
	return !set.Equal(by) && (set.After(by) || by.Sub(set) > time.Until(by)/16)
}

// handOver gives the connection to net/http, with the deadlines of a new one.
func (c *conn) handOver() {
	if c.net.SetDeadline(time.Time{}) != nil {
		c.net.Close() //nolint:errcheck // it is broken
		return
	}
	c.server.handed.give(c.net, slices.Clone(c.in[:c.n]))
}

// exchange answers a request, and says whether the connection can be used for another one.
func (c *conn) exchange(r *http.Request) (again bool) {
	ctx, cancel := context.WithCancel(c.values)
	defer cancel()
	c.served.Store(true)
	c.current.Store(&exchange{began: time.Now(), cancel: cancel})
	defer c.current.Store(nil)
	r = r.WithContext(ctx)
	r.RemoteAddr = c.remote
	c.answer.reset(r)
	defer func() {
		if p := recover(); p != nil {
			again = false
			if p != http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
				c.server.logf("http: panic serving %v: %v\n%s", c.remote, p, debug.Stack())
			}
		}
	}()
	c.server.http.Handler.ServeHTTP(&c.answer, r)
	return c.answer.finish()
}
