package http1

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchInterval is how often connections are looked at whose request takes longer than that.
const watchInterval = time.Second

// watch cancels the requests of clients that have gone away, until the server has ended. net/http has a goroutine wait for that beside each request;
// most are answered long before it matters.
func (s *Server) watch() {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		for c := range s.conns {
			if e := c.current.Load(); e != nil && time.Since(e.began) > watchInterval && gone(c) {
				e.cancel()
			}
		}
		s.mu.Unlock()
	}
}

// gone says whether the other end of a connection has been closed. It takes nothing from what is to be read.
func gone(c *conn) bool {
	socket, ok := c.net.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ended = n == 0 && err == nil || err != nil && err != unix.EAGAIN && err != unix.EINTR //nolint:errorlint // numbers, not wrapped
	})
	return ended || err != nil
}
