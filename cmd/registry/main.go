// Command registry is the pack registry's server.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"packregistry.dev/server"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
)

func main() {
	// Documented container arguments name the program a second time: "/registry serve FILE".
	if len(os.Args) > 1 && os.Args[1] == "/registry" {
		os.Args = slices.Delete(os.Args, 1, 2)
	}
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		// In a pod these last words become the container's termination message.
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

Warnings go to standard error. What is wrong is told by key and line, all of it at once, and the
exit status is 1.`,
		Example: `  registry config                              # the built-in default
  REGISTRY_HTTP_ADDR=:8443 registry config my.yml
  registry config --check my.yml               # only say whether it is valid
  registry config --schema > schema.json       # for an editor: JSON Schema 2020-12`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if schema {
				text, err := config.Schema()
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", text)
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
			return serve(ctx, argument(args), lenient)
		},
	}
	cmd.Flags().BoolVar(&lenient, "lenient", false, "warn of unknown keys in the file instead of refusing them")
	return cmd
}

func collectCommand() *cobra.Command {
	var lenient, dryRun bool
	cmd := &cobra.Command{
		Use:   "garbage-collect [FILE]",
		Short: "Collect garbage once, as the server does by itself at every interval",
		Long: `Collect garbage once, as the server does by itself at every storage.maintenance.garbagecollection.interval.
Servers may go on serving the same storage meanwhile.

What nothing refers to is condemned first. It is removed by a later collection, when it has been
condemned for the grace period (blobs) or for keepuntagged (manifests that no tag names any more) and
still nothing refers to it. So the first run on a store that was never collected removes nothing.

A summary goes to standard output, as JSON.`,
		Example: `  registry garbage-collect --dry-run /etc/registry/config.yml
  registry garbage-collect /etc/registry/config.yml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			c, warnings, err := config.Load(argument(args), lenient)
			if err != nil {
				return err
			}
			log := server.NewLogger(cmd.ErrOrStderr(), c.Log)
			for _, w := range warnings {
				log.Warn(w)
			}
			done, err := server.CollectOnce(ctx, c, dryRun, log)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(done)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, only say what would be condemned and removed")
	cmd.Flags().BoolVar(&lenient, "lenient", false, "warn of unknown keys in the file instead of refusing them")
	return cmd
}

func verifyCommand() *cobra.Command {
	var lenient, quarantine bool
	var mib int
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Read everything that is stored and compare it with its digests",
		Long: `Read everything that is stored and compare it with its digests. Servers may go on serving the same
storage meanwhile.

What is wrong is printed as it is found, a line of JSON each, and a summary at the end; the exit status
is 1 then. With --quarantine what is corrupt is moved aside (to q/ in the storage): it answers 404
from then on, so that it can be pushed again.`,
		Example: `  registry verify --rate 50 /etc/registry/config.yml`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			c, warnings, err := config.Load(argument(args), lenient)
			if err != nil {
				return err
			}
			for _, w := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
			}
			content, err := server.OpenStore(ctx, c)
			if err != nil {
				return err
			}
			out := json.NewEncoder(cmd.OutOrStdout())
			done, err := content.Verify(ctx, store.Verification{BytesPerSecond: mib << 20, Quarantine: quarantine, Found: func(p store.Problem) {
				out.Encode(p) //nolint:errcheck // the summary below fails too
			}})
			if err != nil {
				return err
			}
			if err := out.Encode(done); err != nil {
				return err
			}
			if done.Problems > 0 {
				return fmt.Errorf("found %d problems", done.Problems)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&mib, "rate", 0, "read at most so many MiB a second; 0 is as fast as it goes")
	cmd.Flags().BoolVar(&quarantine, "quarantine", false, "move what is corrupt aside")
	cmd.Flags().BoolVar(&lenient, "lenient", false, "warn of unknown keys in the file instead of refusing them")
	return cmd
}

func importCommand() *cobra.Command {
	var lenient bool
	var directory string
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Take over what a CNCF distribution registry has stored",
		Long: `Take over what a CNCF distribution registry has stored (docker/registry/v2): by default where the
configuration's own storage is, so that the old file and the old volume or bucket can stay as they are.
It is only read, and can be removed afterwards.

Everything is compared with its digest on the way. What is there already is passed over: an import that
was interrupted goes on, and one that is repeated brings what came meanwhile. What cannot be taken over
is told at the end, in a summary as JSON; the exit status is 1 then.`,
		Example: `  registry import /etc/registry/config.yml
  registry import --from /var/lib/registry /etc/registry/config.yml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			c, warnings, err := config.Load(argument(args), lenient)
			if err != nil {
				return err
			}
			log := server.NewLogger(cmd.ErrOrStderr(), c.Log)
			for _, w := range warnings {
				log.Warn(w)
			}
			done, err := server.Import(ctx, c, directory, log)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(done); err != nil {
				return err
			}
			if n := len(done.Problems); n > 0 {
				return fmt.Errorf("%d things could not be taken over", n)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&directory, "from", "", "directory of the old registry, if it is not that of the configuration")
	cmd.Flags().BoolVar(&lenient, "lenient", false, "warn of unknown keys in the file instead of refusing them")
	return cmd
}

func serve(ctx context.Context, path string, lenient bool) error {
	c, warnings, err := config.Load(path, lenient)
	if err != nil {
		return err
	}
	log := server.NewLogger(os.Stderr, c.Log)
	for _, w := range warnings {
		log.Warn(w)
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
