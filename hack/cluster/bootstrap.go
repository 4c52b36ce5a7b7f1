package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// objects are applied to every new cluster.
//
//go:embed bootstrap.yaml
var objects string

func (c *cluster) kubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := c.inside(ctx, c.bin("kubectl"), append([]string{"--kubeconfig=" + c.path("admin.kubeconfig")}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+c.path("tmp"))
	return cmd
}

func (c *cluster) kubectl(ctx context.Context, args ...string) error {
	cmd := c.kubectlCommand(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func (c *cluster) bootstrap(ctx context.Context) error {
	text := strings.NewReplacer("$NODE_IP", nodeIP, "$NODE_NAME", nodeName, "$DNS", dnsService).Replace(objects)
	// The first moments after readiness some API groups are still being installed.
	return c.wait(ctx, "the cluster's own objects", 60*time.Second, func(ctx context.Context) error {
		cmd := c.kubectlCommand(ctx, "apply", "--server-side", "--force-conflicts", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		return run(cmd)
	})
}

// waitReady waits until pods can run and names can be resolved.
func (c *cluster) waitReady(ctx context.Context) error {
	if err := c.wait(ctx, "the container runtime", 60*time.Second, c.loadPause); err != nil {
		return err
	}
	if err := c.nodeReady(ctx, c.node1()); err != nil {
		return err
	}
	return c.wait(ctx, "DNS", 60*time.Second, func(ctx context.Context) error { return c.get(ctx, "http://127.0.0.1:8181/ready") })
}

func (c *cluster) nodeReady(ctx context.Context, n node) error {
	return c.wait(ctx, n.name, 90*time.Second, func(ctx context.Context) error {
		out, err := c.kubectlCommand(ctx, "get", "node", n.name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`).CombinedOutput()
		if err == nil && string(out) != "True" {
			err = fmt.Errorf("the node is not ready: %s", out)
		}
		return err
	})
}
