package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// createNetwork makes the namespace: a bridge that carries the node's address (there is no link to the outside), a
// route for services, so that the node's own processes reach them, and forwarding between pods.
func (c *cluster) createNetwork(ctx context.Context) error {
	if err := os.WriteFile(c.netns(), nil, 0o600); err != nil {
		return err
	}
	if err := run(exec.CommandContext(ctx, "unshare", "--net="+c.netns(), "true")); err != nil {
		return err
	}
	for _, line := range []string{
		"ip link set lo up",
		"ip link add node0 type bridge",
		"ip addr add " + nodeIP + "/24 dev node0",
		"ip addr add " + c.node2().ip + "/24 dev node0",
		"ip link set node0 up",
		"ip route add " + serviceCIDR + " dev node0",
		"sysctl -qw net.ipv4.ip_forward=1",
		// Frames between two pods on the bridge must pass the rules that translate a service's address back.
		"sysctl -qw net.bridge.bridge-nf-call-iptables=1",
	} {
		words := strings.Fields(line)
		if err := run(c.inside(ctx, words[0], words[1:]...)); err != nil {
			return err
		}
	}
	return nil
}

func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
