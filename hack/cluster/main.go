// Command cluster runs a Kubernetes of one node (two on request) on any Linux machine, without a container engine and without pulling an
// image: etcd, the control plane, containerd, a kubelet, kube-proxy and CoreDNS as ordinary processes in a network
// namespace of their own, from binaries that were built from Go modules (see components/).
//
// Nothing can leave that namespace, and the machine's own network is not touched: the API server and port 443 of the
// node are reachable from outside through a forwarder on the loopback interface.
//
//	main.go        the commands
//	layout.go      where everything lies, and the addresses inside
//	configure.go   what is written before the start: keys, kubeconfigs, each program's configuration
//	network.go     the namespace
//	node.go        a second node, while one is asked for
//	components.go  the programs with their arguments, in the order of their start
//	supervise.go   the process that runs them, restarts what dies, and stops them
//	forward.go     loopback ports into the namespace
//	bootstrap.go   the objects that a cluster is given: DNS, storage class
//	images.go      the pause image, and loading of others
//	cleanup.go     stopping what a supervisor left behind, and finding out whether anything is
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		var failed commandFailed
		if errors.As(err, &failed) {
			os.Exit(failed.status) // the command has said what was wrong
		}
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	c := &cluster{}
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "A one-node Kubernetes in a network namespace of its own",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if runtime.GOOS != "linux" || os.Geteuid() != 0 {
				return errors.New("needs Linux and root, for namespaces and mounts; elsewhere, set KUBECONFIG to a cluster that you have (kind, minikube, …)")
			}
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.state, "state", "/var/lib/packregistry-cluster", "the folder that everything is kept in while the cluster exists")
	flags.StringVar(&c.components, "components", os.Getenv("CLUSTER_COMPONENTS"), "the folder with the binaries (default $CLUSTER_COMPONENTS)")
	flags.IntVar(&c.apiPort, "api-port", 16443, "loopback port of the API server")
	flags.IntVar(&c.httpsPort, "https-port", 443, "loopback port that leads to port 443 of the node")

	root.AddCommand(
		&cobra.Command{Use: "up", Short: "Start the cluster, or find it running", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.up(cmd.Context()) }},
		&cobra.Command{Use: "down", Short: "Stop the cluster and remove every trace of it", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.down(cmd.Context()) }},
		&cobra.Command{Use: "status", Short: "Say what runs; the exit status is 0 if the cluster does", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.status(cmd.Context()) }},
		&cobra.Command{Use: "load IMAGE.tar…", Short: "Load images from OCI archives", Args: cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return c.load(cmd.Context(), args) }},
		&cobra.Command{Use: "exec -- CMD…", Short: "Run a command inside the cluster's network", Args: cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return c.exec(cmd.Context(), args) }},
		&cobra.Command{Use: "kubeconfig", Short: "Print the path of a kubeconfig for use outside of the cluster's network", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if !c.running() {
					return errors.New("the cluster does not run; start it with: cluster up")
				}
				fmt.Println(c.path("kubeconfig"))
				return nil
			}},
		&cobra.Command{Use: "join", Short: "Start a second node, which pods can move to", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.join(cmd.Context()) }},
		&cobra.Command{Use: "leave", Short: "Take the second node away", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.leave(cmd.Context()) }},
		&cobra.Command{Use: "supervise-node", Hidden: true, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.superviseNode(cmd.Context()) }},
		&cobra.Command{Use: "supervise", Hidden: true, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.supervise(cmd.Context()) }},
	)
	return root
}

// say reports progress to a person.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "cluster: "+format+"\n", args...)
}

func (c *cluster) up(ctx context.Context) error {
	started := time.Now()
	if c.running() && c.apiReady(ctx) == nil {
		say("runs already")
		return c.waitReady(ctx)
	}
	if err := c.checkComponents(); err != nil {
		return err
	}
	// A supervisor that hangs, or what one left behind that was killed.
	if err := c.stop(ctx); err != nil {
		return err
	}
	say("starting (state and logs in %s)", c.state)
	if err := c.configure(); err != nil {
		return err
	}
	if err := c.createNetwork(ctx); err != nil {
		return err
	}
	if err := c.startSupervisor(); err != nil {
		return err
	}
	if err := c.wait(ctx, "the API server", 90*time.Second, c.apiReady); err != nil {
		return err
	}
	if err := c.bootstrap(ctx); err != nil {
		return err
	}
	if err := c.waitReady(ctx); err != nil {
		return err
	}
	say("ready after %s; the API server is at https://127.0.0.1:%d, port 443 of the node at 127.0.0.1:%d",
		time.Since(started).Round(time.Second), c.apiPort, c.httpsPort)
	return nil
}

func (c *cluster) down(ctx context.Context) error {
	if err := c.stop(ctx); err != nil {
		return err
	}
	c.removeFixedPaths()
	if err := os.RemoveAll(c.state); err != nil {
		return fmt.Errorf("remove %s: %w", c.state, err)
	}
	if left := c.leftovers(); len(left) > 0 {
		return fmt.Errorf("left behind, in spite of all: %v", left)
	}
	say("stopped; nothing is left")
	return nil
}

func (c *cluster) status(ctx context.Context) error {
	if !c.running() {
		return errors.New("does not run")
	}
	if err := c.apiReady(ctx); err != nil {
		return fmt.Errorf("the supervisor runs, but the API server does not answer: %w", err)
	}
	say("runs; API server https://127.0.0.1:%d, kubeconfig %s", c.apiPort, c.path("kubeconfig"))
	return c.kubectl(ctx, "get", "nodes,pods", "--all-namespaces", "-o", "wide")
}

func (c *cluster) exec(ctx context.Context, args []string) error {
	if !c.running() {
		return errors.New("the cluster does not run; start it with: cluster up")
	}
	cmd := c.inside(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.path("admin.kubeconfig"), "PATH="+c.components+":"+os.Getenv("PATH"))
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return commandFailed{exit.ExitCode()}
	}
	return err
}

// commandFailed is the exit status of a command that `exec` ran.
type commandFailed struct{ status int }

func (c commandFailed) Error() string { return fmt.Sprintf("exit status %d", c.status) }

// wait polls until ready returns nil.
func (c *cluster) wait(ctx context.Context, what string, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if !c.running() {
			return fmt.Errorf("waiting for %s: the supervisor ended; see %s", what, c.path("logs", "supervisor.log"))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s not ready after %s: %w; see the logs in %s", what, limit, err, c.path("logs"))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
