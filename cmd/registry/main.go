// Command registry is the pack registry's server.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"packregistry.dev/server"
	"packregistry.dev/server/config"
)

// gcPercent lets the heap grow to three times what lives in it before Go collects: the live heap is a few MiB, and half
// as many collections are worth a tenth of a small request.
const gcPercent = 200

// softMemory is how many bytes the program takes before Go collects more often than that: many requests at once may make much garbage.
const softMemory = 192 << 20

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemory)
	}
	// Documented container arguments name the program a second time: "/registry serve FILE".
	if len(os.Args) > 1 && os.Args[1] == "/registry" {
		os.Args = slices.Delete(os.Args, 1, 2)
	}
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		// In a pod this error becomes the container's termination message.
		writeTerminationMessage(err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "registry",
		Short: "A registry for packs, and for everything else that OCI clients push",
		Long: `A registry for packs, and for everything else that OCI clients push.

It serves packs at /v1/ and the OCI distribution API at /v2/, over one store: a directory, an S3
bucket, or memory. Users come from a file that htpasswd -B writes; TLS from a pair of files or from
Let's Encrypt.`,
		Example: `  # Try it out: nothing is kept, everybody may do everything, plain HTTP on port 5000.
  REGISTRY_STORAGE=inmemory REGISTRY_AUTH=none registry serve

  # A registry with users and a certificate.
  htpasswd -Bbn admin 'a good password' > /auth/htpasswd-basic
  REGISTRY_HTTP_TLS_CERTIFICATE=/certs/tls.crt REGISTRY_HTTP_TLS_KEY=/certs/tls.key registry serve

  # Your own configuration: look at the default, change it, check it, serve it.
  registry config > my.yml
  registry config --check my.yml
  registry serve my.yml

  # Is it there?
  curl --cacert tls.crt https://packs.example.com/health
  curl --cacert tls.crt -u admin https://packs.example.com/v1/_catalog`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       server.Version,
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: true,
		},
	}
	root.AddCommand(serveCommand(), configCommand(), collectCommand(), importCommand(), verifyCommand(), versionCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "registry %s %s/%s\n", server.Version, runtime.GOOS, runtime.GOARCH)
		},
	}
}

func configCommand() *cobra.Command {
	var lenient, check, schema bool
	cmd := &cobra.Command{
		Use:   "config [FILE]",
		Short: "Print a configuration as the server understands it, check it, or print its schema",
		Long: `Print the configuration that the server would run with: the file (or the built-in default), the
environment's REGISTRY_… variables over it, and what was left out filled in. Secrets are blotted out.

Warnings go to standard error. What is wrong is listed by key and line, all of it at once, and the
exit status is 1.`,
		Example: `  registry config                              # the built-in default
  REGISTRY_HTTP_ADDR=:8443 registry config my.yml
  registry config --check my.yml               # only say whether it is valid
  registry config --schema > schema.json       # for an editor: JSON Schema 2020-12`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if schema {
				_, err := cmd.OutOrStdout().Write(config.Schema())
				return err
			}
			c, warnings, err := config.Load(argument(args), lenient)
			for _, w := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
			}
			if err != nil {
				return err
			}
			if check {
				fmt.Fprintln(cmd.OutOrStdout(), "the configuration is valid")
				return nil
			}
			text, err := config.Masked(*c)
			fmt.Fprintf(cmd.OutOrStdout(), "%s", text)
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only say whether it is valid")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of the file")
	cmd.Flags().BoolVar(&lenient, "lenient", false, "warn of unknown keys instead of refusing them")
	cmd.MarkFlagsMutuallyExclusive("check", "schema")
	return cmd
}

func argument(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return os.Getenv("REGISTRY_CONFIGURATION_PATH")
}

func serveCommand() *cobra.Command {
	var lenient bool
	cmd := &cobra.Command{
		Use:   "serve [FILE]",
		Short: "Serve packs as a configuration file says",
		Long: `Serve packs as a configuration file says.

Any setting of the file can be made by a variable as well: log.level is REGISTRY_LOG_LEVEL,
http.tls.certificate is REGISTRY_HTTP_TLS_CERTIFICATE. Variables win.

Without FILE (and without REGISTRY_CONFIGURATION_PATH) the built-in default is used: packs in
/data/.spectro-server, users in /auth/htpasswd-basic, port 5000.

SIGTERM ends the server in order: it stops being ready, finishes what is in flight within
http.draintimeout, and exits with 0.`,
		Example: `  registry serve /etc/registry/config.yml
  REGISTRY_STORAGE=inmemory REGISTRY_AUTH=none registry serve    # try it out`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return serve(ctx, args, lenient)
		},
	}
	cmd.Flags().BoolVar(&lenient, "lenient", false, "warn of unknown keys in the file instead of refusing them")
	return cmd
}

// load reads the configuration that the arguments name, and logs its warnings with the logger that it asks for.
func load(args []string, lenient bool, w io.Writer) (*config.Config, *slog.Logger, error) {
	c, warnings, err := config.Load(argument(args), lenient)
	if err != nil {
		return nil, nil, err
	}
	log := server.NewLogger(w, c.Log)
	for _, warning := range warnings {
		log.Warn(warning)
	}
	return c, log, nil
}

func serve(ctx context.Context, args []string, lenient bool) error {
	// Go ends a program that writes to a standard output or error that nobody reads any more. The reader of a server's log
	// may restart, as journald does: lines are lost then, and the server goes on.
	signal.Ignore(syscall.SIGPIPE)
	c, log, err := load(args, lenient, os.Stderr)
	if err != nil {
		return err
	}
	s, err := server.Open(ctx, c, log)
	if err != nil {
		return err
	}
	return s.Run(ctx, func(addr net.Addr) {
		log.Info("serving", "addr", addr.String(), "tls", c.HTTP.TLS != nil, "version", server.Version)
	})
}

// writeTerminationMessage leaves the error where Kubernetes looks for it, if that place exists.
func writeTerminationMessage(err error) {
	const path = "/dev/termination-log"
	f, openErr := os.OpenFile(path, os.O_WRONLY, 0)
	if openErr != nil {
		return
	}
	defer f.Close()
	fmt.Fprintln(f, err)
}
