package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// join starts a second node, with the images that the first has.
func (c *cluster) join(ctx context.Context) error {
	n := c.node2()
	if !c.running() {
		return errors.New("the cluster does not run; start it with: cluster up")
	}
	if !locked(n.path("lock")) {
		if err := os.MkdirAll(n.dir, 0o711); err != nil {
			return err
		}
		if err := c.configureNode(n); err != nil {
			return err
		}
		if err := c.startApart(n.name+".log", func() bool { return locked(n.path("lock")) }, "supervise-node"); err != nil {
			return err
		}
	}
	if err := c.wait(ctx, "the container runtime of "+n.name, 60*time.Second, func(ctx context.Context) error {
		return c.copyImages(ctx, c.node1(), n)
	}); err != nil {
		return err
	}
	if err := c.nodeReady(ctx, n); err != nil {
		return err
	}
	say("%s has joined", n.name)
	return nil
}

// leave takes the second node away, whatever runs on it; drain it before, to have that moved.
func (c *cluster) leave(ctx context.Context) error {
	n := c.node2()
	if err := c.stopSupervisor(ctx, n); err != nil {
		return err
	}
	if err := c.kubectl(ctx, "delete", "node", n.name, "--ignore-not-found"); err != nil {
		return err
	}
	// Its shims outlive it, as they should when a containerd only restarts.
	if err := c.killProcesses(ctx, func() []int { return c.processesOf(n) }); err != nil {
		return err
	}
	for _, dir := range cgroupDirs(n.cgroup) {
		removeCgroups(dir)
	}
	return os.RemoveAll(n.dir)
}

// superviseNode runs the second node's programs until it is told to stop.
func (c *cluster) superviseNode(ctx context.Context) error {
	n := c.node2()
	lock, err := os.OpenFile(n.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another supervisor runs: %w", err)
	}
	return c.runNode(ctx, n, c.nodePrograms(n))
}
