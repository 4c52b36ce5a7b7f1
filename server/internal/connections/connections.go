// Package connections bounds how many connections clients have at once. Each takes memory and a file, also one that asks for nothing.
package connections

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"packregistry.dev/server/internal/clientip"
	"packregistry.dev/server/internal/share"
)

// Limit closes connections beyond a number, in all and of one address, as soon as they are accepted. An address has no more of them than
// it leaves free.
type Limit struct {
	places *share.Pool
	// proxies are networks whose connections are others': only the bound in total holds for them.
	proxies []netip.Prefix
	// Refused is called, if it is set, for each connection that is closed.
	Refused func()

	mu      sync.Mutex
	holders map[net.Conn]string
	proxied int
}

// New makes a limit of n connections.
func New(n int, proxies []netip.Prefix) *Limit {
	return &Limit{places: share.New(int64(n), 1), proxies: proxies, holders: map[net.Conn]string{}}
}

// State is a http.Server's ConnState. A connection that it closes ends before anything is read from it.
func (l *Limit) State(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if !l.take(c) {
			if l.Refused != nil {
				l.Refused()
			}
			c.Close() //nolint:errcheck // nothing was written to it
		}
	case http.StateClosed, http.StateHijacked:
		l.release(c)
	case http.StateActive, http.StateIdle:
	}
}

func (l *Limit) take(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := l.holder(c)
	if !l.places.TryAcquire(name, 1) {
		return false
	}
	l.holders[c] = name
	return true
}

func (l *Limit) release(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name, ok := l.holders[c]; ok {
		delete(l.holders, c)
		l.places.Release(name, 1)
	}
}

// holder is whose share a connection takes from: its address's; one of a proxy's its own.
func (l *Limit) holder(c net.Conn) string {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	addr := at.Addr().Unmap()
	for _, network := range l.proxies {
		if network.Contains(addr) {
			l.proxied++
			return "proxy " + strconv.Itoa(l.proxied)
		}
	}
	return clientip.Network(addr).String()
}

// Fitting is how many connections there may be of a number that is wanted: half of the files that this process may open are left for the
// storage.
func Fitting(wanted int) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return wanted
	}
	return int(max(1, min(uint64(wanted), limit.Cur/2))) //nolint:gosec // neither is negative
}
