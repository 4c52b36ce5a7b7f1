//go:build linux

package flood

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// drip begins a request, sends a part of what it announces, and then a byte now and then. Without a size not even the head ends.
func drip(method, path string, size int, sent string) step {
	return func(a *attacker, worker, _ int) string {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+worker%4))}}).DialContext(a.ctx, "tcp", strings.TrimPrefix(a.target, "http://"))
		if err != nil {
			return notConnected
		}
		defer conn.Close()
		go func() {
			<-a.ctx.Done()
			conn.Close()
		}()
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic bWFsOm1hbA==\r\nContent-Type: %s\r\n", method, path, indexType) //nolint:errcheck // the read shows it
		if size > 0 {
			fmt.Fprintf(conn, "Content-Length: %d\r\n\r\n%s", size+1000, sent) //nolint:errcheck // the read shows it
		}
		answered := make(chan string, 1)
		go func() {
			answer := make([]byte, 12)
			if _, err := io.ReadFull(conn, answer); err != nil {
				answered <- brokenOff
				return
			}
			answered <- string(answer[9:])
		}()
		name := map[string]string{"POST": "dripped uploads", "PUT": "dripped manifests", "GET": "unfinished heads"}[method]
		for n := 1; ; n++ {
			select {
			case answer := <-answered:
				return answer
			case <-time.After(2 * time.Second):
				if n == 3 && a.alone {
					return held
				} else if n == 3 { // longer than a place is waited for
					a.count(name, held)
				}
				io.WriteString(conn, "x") //nolint:errcheck // the read shows it
			}
		}
	}
}

// unread asks for something and takes nothing of it.
func unread(path string) step {
	return func(a *attacker, worker, _ int) string {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+worker%4))}}).DialContext(a.ctx, "tcp", strings.TrimPrefix(a.target, "http://"))
		if err != nil {
			return notConnected
		}
		defer conn.Close()
		conn.(*net.TCPConn).SetReadBuffer(4096)                           //nolint:errcheck,forcetypeassert // the less the better
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)     //nolint:errcheck // nobody waits for the answer
		fmt.Fprintf(conn, "GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n") //nolint:errcheck // see above
		wait := 10 * time.Second
		if a.alone {
			wait = time.Second
		}
		select {
		case <-a.ctx.Done():
		case <-time.After(wait):
		}
		conn.SetReadDeadline(time.Now().Add(30 * time.Second)) //nolint:errcheck // see above
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil {
			return brokenOff
		}
		return string(answer[9:])
	}
}
