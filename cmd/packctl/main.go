// Command packctl pushes packs to a registry, lists, pulls, tags and deletes them.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
)

// version is set by the build.
var version = "dev"

// options are the flags that every command knows.
type options struct {
	home, server, caFile string
	insecure, quiet      bool
	// progress shows how far transfers are, once there is one.
	progress *terminal.Progress
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
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "print data and errors only: no progress, no words about what was done; lists print names alone")
	flags.StringVar(&o.caFile, "ca-file", "", "trust the CAs in this file too (besides /etc/packctl/certs.d/SERVER/ca.crt)")

	registry := &cobra.Command{Use: "registry", Short: "Log in to registries, and out"}
	registry.AddCommand(loginCommand(o), logoutCommand(o), serversCommand(o))
	packs := &cobra.Command{Use: "pack", Short: "Work with packs"}
	packs.PersistentFlags().StringVarP(&o.server, "registry-server", "r", "", "the server (the default is the one logged in to with --default, or first)")
	packs.AddCommand(initCommand(o), buildCommand(o), validateCommand(o), pushCommand(o), listCommand(o), describeCommand(o), searchCommand(o),
		pullCommand(o), diffCommand(o), copyCommand(o), saveCommand(o), loadCommand(o), deleteCommand(o), tagCommand(o))
	root.AddCommand(registry, packs, versionCommand(), docsCommand(o))
	o.addCompletions(registry, packs)
	root.InitDefaultCompletionCmd()
	markUsageErrors(root)
	return root
}

func versionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: "  packctl version\n  packctl version --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			data := map[string]string{"version": version, "os": runtime.GOOS, "arch": runtime.GOARCH}
			return write(cmd.OutOrStdout(), output, data, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "packctl %s %s/%s\n", version, runtime.GOOS, runtime.GOARCH)
				return err
			})
		},
	}
	outputFlag(cmd, &output, formText)
	return cmd
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
	s.OnRetry = o.reportRetries(cmd)
	s.UploadsDir = filepath.Join(o.home, "uploads")
	if progress := o.watch(cmd); progress != nil {
		s.OnDownload = progress.Start
	}
	return client.Connect(s)
}

// reportRetries says to a person why it takes longer; nil where nobody is looking.
func (o *options) reportRetries(cmd *cobra.Command) func(string, time.Duration) {
	if o.quiet || !terminal.IsTerminal(cmd.ErrOrStderr()) {
		return nil
	}
	progress := o.watch(cmd)
	return func(reason string, wait time.Duration) {
		progress.Println(fmt.Sprintf("%s; trying again in %s", reason, wait.Round(100*time.Millisecond)))
	}
}
