package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// dialInside connects to an address in the namespace. A socket belongs to the namespace of the thread that made it, so
// the thread is moved there for that moment.
func (c *cluster) dialInside(ctx context.Context, address string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer own.Close()
	target, err := os.Open(c.netns())
	if err != nil {
		return nil, err
	}
	defer target.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // this thread would go on in the wrong network
	}
	return conn, err
}

// forward serves a loopback port by connecting to an address in the namespace, until the context ends.
func (c *cluster) forward(ctx context.Context, port int, address string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("%w; choose another port with --api-port or --https-port (HTTPS_PORT=… make demo)", err)
	}
	go func() {
		<-ctx.Done()
		listener.Close()
	}()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go c.relay(ctx, conn.(*net.TCPConn), address)
		}
	}()
	return nil
}

func (c *cluster) relay(ctx context.Context, outside *net.TCPConn, address string) {
	defer outside.Close() //nolint:errcheck // either side may hang up
	conn, err := c.dialInside(ctx, address)
	if err != nil {
		return
	}
	inside := conn.(*net.TCPConn)
	defer inside.Close() //nolint:errcheck // ibid.
	done := make(chan struct{}, 2)
	pump := func(to, from *net.TCPConn) {
		io.Copy(to, from) //nolint:errcheck // either side may hang up
		to.CloseWrite()   //nolint:errcheck
		done <- struct{}{}
	}
	go pump(inside, outside)
	go pump(outside, inside)
	<-done
	<-done
}
