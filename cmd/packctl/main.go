// Command packctl pushes packs to a registry, lists, pulls, tags and deletes them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
)

// version is set by the build.
var version = "dev"

// options are the flags that every command knows.
type options struct {
	home, server, caFile string
	insecure             bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program as it is
	cmd, err := newCommand().ExecuteContextC(ctx)
	os.Exit(finish(ctx, cmd, err))
}

func newCommand() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:           "packctl",
		Short:         "Push packs to a registry, list, pull, tag and delete them",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&o.home, "home", "s", filepath.Join(home, ".packctl"), "the folder that logins are kept in")
	flags.Lookup("home").DefValue = "~/.packctl" // as documents show it
	flags.BoolVarP(&o.insecure, "insecure", "i", false, "accept any certificate, and plain HTTP from a server that speaks no TLS")
	flags.StringVar(&o.caFile, "ca-file", "", "trust the CAs in this file too (besides /etc/packctl/certs.d/SERVER/ca.crt)")

	registry := &cobra.Command{Use: "registry", Short: "Log in to registries, and out"}
	registry.AddCommand(loginCommand(o), logoutCommand(o), serversCommand(o))
	packs := &cobra.Command{Use: "pack", Short: "Work with packs"}
	packs.PersistentFlags().StringVarP(&o.server, "registry-server", "r", "", "the server (the default is the one logged in to with --default, or first)")
	packs.AddCommand(initCommand(), buildCommand(o), validateCommand(), pushCommand(o), listCommand(o), describeCommand(o), pullCommand(o), diffCommand(o), copyCommand(o), saveCommand(o), loadCommand(o), deleteCommand(o), tagCommand(o))
	root.AddCommand(registry, packs, versionCommand(), docsCommand())
	o.addCompletions(registry, packs)
	root.InitDefaultCompletionCmd()
	markUsageErrors(root)
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "packctl %s %s/%s\n", version, runtime.GOOS, runtime.GOARCH)
		},
	}
}

// connect connects to the server that flags and logins name.
func (o *options) connect(cmd *cobra.Command) (*client.Client, error) {
	c, err := client.LoadConfig(o.home)
	if err != nil {
		return nil, err
	}
	s, err := c.Server(o.server)
	if err != nil {
		return nil, err
	}
	s.Insecure = s.Insecure || o.insecure
	if o.caFile != "" {
		s.CAFile = o.caFile
	}
	s.OnRetry = reportRetries(cmd)
	return client.Connect(s)
}

// reportRetries tells a person why it takes longer; nil where nobody is looking.
func reportRetries(cmd *cobra.Command) func(string, time.Duration) {
	if !isTerminal(cmd.ErrOrStderr()) {
		return nil
	}
	return func(reason string, wait time.Duration) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s; trying again in %s\n", reason, wait.Round(100*time.Millisecond))
	}
}
