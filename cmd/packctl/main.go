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
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "packctl:", err)
		os.Exit(1)
	}
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
	flags.BoolVarP(&o.insecure, "insecure", "i", false, "accept any certificate; with http://SERVER, speak no TLS")
	flags.StringVar(&o.caFile, "ca-file", "", "trust the authorities in this file too (besides /etc/packctl/certs.d/SERVER/ca.crt)")

	registry := &cobra.Command{Use: "registry", Short: "Log in to registries, and out"}
	registry.AddCommand(loginCommand(o), logoutCommand(o))
	packs := &cobra.Command{Use: "pack", Short: "Work with packs"}
	packs.PersistentFlags().StringVarP(&o.server, "registry-server", "r", "", "the server (the default is the one logged in to with --default, or first)")
	packs.AddCommand(validateCommand(), pushCommand(o), listCommand(o), pullCommand(o), deleteCommand(o), tagCommand(o))
	root.AddCommand(registry, packs, versionCommand())
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
func (o *options) connect() (*client.Client, error) {
	c, err := client.LoadConfig(o.home)
	if err != nil {
		return nil, err
	}
	s, err := c.Server(o.server)
	if err != nil {
		return nil, err
	}
	s.Insecure = s.Insecure || o.insecure
	s.CAFile = o.caFile
	return client.Connect(s)
}
