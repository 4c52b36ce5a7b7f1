package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// running says whether a supervisor holds the lock: that is true exactly as long as its process lives.
func (c *cluster) running() bool { return locked(c.path("lock")) }

func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// startSupervisor starts this program a second time, in a session and a mount namespace of its own: what the kubelet
// and containerd mount is seen by nobody else, and gone with the last of the cluster's processes.
func (c *cluster) startSupervisor() error {
	return c.startApart("supervisor.log", c.running, "supervise", fmt.Sprintf("--api-port=%d", c.apiPort), fmt.Sprintf("--https-port=%d", c.httpsPort))
}

func (c *cluster) startApart(logName string, running func() bool, args ...string) error {
	log, err := os.OpenFile(c.path("logs", logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Without a context: it outlives this process.
	cmd := exec.Command(self, append(args, "--state="+c.state, "--components="+c.components)...) //nolint:noctx // see above
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for !running() {
		select {
		case err := <-exited:
			text, _ := os.ReadFile(log.Name()) //nolint:errcheck // for the message
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			return fmt.Errorf("the supervisor ended at once (%w): %s", err, strings.TrimPrefix(lines[len(lines)-1], "cluster: "))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// supervise runs the components until it is told to stop.
func (c *cluster) supervise(ctx context.Context) error {
	lock, err := os.OpenFile(c.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	for _, f := range []struct {
		port    int
		address string
	}{{c.apiPort, fmt.Sprintf("%s:%d", nodeIP, apiInside)}, {c.httpsPort, nodeIP + ":443"}} {
		if err := c.forward(ctx, f.port, f.address); err != nil {
			return err
		}
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another supervisor runs: %w", err)
	}
	return c.runNode(ctx, c.node1(), c.programs())
}

// runNode covers fixedPaths by the node's own folders and runs programs until it is told to stop.
func (c *cluster) runNode(ctx context.Context, n node, programs []component) error {
	if err := coverFixedPaths(n); err != nil {
		return err
	}
	if err := os.WriteFile(n.path("supervisor.pid"), strconv.AppendInt(nil, int64(os.Getpid()), 10), 0o600); err != nil {
		return err
	}
	return c.runAll(ctx, programs)
}

// coverFixedPaths mounts folders of the node's own over fixedPaths.
func coverFixedPaths(n node) error {
	for _, path := range fixedPaths {
		own := n.path("fixed", path)
		if err := os.MkdirAll(own, 0o700); err != nil {
			return err
		}
		if err := syscall.Mount(own, path, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover %s: %w", path, err)
		}
	}
	return nil
}

// runAll starts every component and stops them in reverse.
func (c *cluster) runAll(ctx context.Context, programs []component) error {
	type running struct {
		cancel context.CancelFunc
		done   chan struct{}
	}
	var started []running
	for _, p := range programs {
		if ctx.Err() != nil {
			break
		}
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := running{cancel, make(chan struct{})}
		started = append(started, r)
		go func() {
			defer close(r.done)
			c.keep(own, p)
		}()
		for p.ready != nil && ctx.Err() == nil && p.ready(ctx) != nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	<-ctx.Done()
	say("stopping")
	for i := len(started) - 1; i >= 0; i-- {
		started[i].cancel()
		<-started[i].done
	}
	return nil
}

// restartDelay keeps a component that cannot start from using up the machine.
const restartDelay = time.Second

// keep runs one component, again whenever it ends, until the context does.
func (c *cluster) keep(ctx context.Context, p component) {
	// The kernel kills a child when the thread that started it ends, so this thread must not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		err := c.runOnce(ctx, p)
		if ctx.Err() != nil {
			return
		}
		say("%s ended (%v); starting it again", p.name, err)
		select {
		case <-ctx.Done():
		case <-time.After(restartDelay):
		}
	}
}

func (c *cluster) runOnce(ctx context.Context, p component) error {
	log, err := os.OpenFile(c.path("logs", p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := c.inside(ctx, p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = c.path("tmp")
	cmd.Env = []string{"PATH=" + c.components + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.path("tmp"), "TMPDIR=" + c.path("tmp")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

// stop ends the supervisor if there is one, and then whatever is left of the cluster but its data.
func (c *cluster) stop(ctx context.Context) error {
	if err := c.stopSupervisor(ctx, c.node2()); err != nil {
		return err
	}
	if err := c.stopSupervisor(ctx, c.node1()); err != nil {
		return err
	}
	return c.cleanup(ctx)
}

// stopSupervisor ends the process that runs a node's programs, if there is one.
func (c *cluster) stopSupervisor(ctx context.Context, n node) error {
	lock := n.path("lock")
	if !locked(lock) {
		return nil
	}
	say("stopping %s", n.name)
	text, err := os.ReadFile(n.path("supervisor.pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return fmt.Errorf("supervisor.pid: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	deadline := time.Now().Add(60 * time.Second)
	for locked(lock) {
		if time.Now().After(deadline) {
			syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // its children die with it
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
