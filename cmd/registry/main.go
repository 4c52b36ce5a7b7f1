// Command registry is the pack registry's server.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"packregistry.dev/server"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
	"packregistry.dev/server/store/driver/inmemory"
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
		Use:           "registry",
		Short:         "A registry for packs, and for everything else that OCI clients push",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       server.Version,
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: true,
		},
	}
	root.AddCommand(serveCommand(), configCommand(), versionCommand())
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
	var lenient, check bool
	cmd := &cobra.Command{
		Use:   "config --check [FILE]",
		Short: "Check a configuration, with the environment's REGISTRY_… variables over it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !check {
				return fmt.Errorf("printing the configuration is not built yet; use --check")
			}
			_, warnings, err := config.Load(argument(args), lenient)
			for _, w := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
			}
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "the configuration is valid")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only say whether it is valid")
	cmd.Flags().BoolVar(&lenient, "lenient", false, "warn of unknown keys instead of refusing them")
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

func serve(ctx context.Context, path string, lenient bool) error {
	c, warnings, err := config.Load(path, lenient)
	if err != nil {
		return err
	}
	log := server.NewLogger(os.Stderr, c.Log)
	for _, w := range warnings {
		log.Warn(w)
	}
	d, err := openDriver(c.Storage)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, d)
	if err != nil {
		return err
	}
	users, err := openUsers(c, log)
	if err != nil {
		return err
	}
	return server.New(c, s, users, log).Run(ctx, func(addr net.Addr) {
		log.Info("serving", "addr", addr.String(), "tls", c.HTTP.TLS != nil, "version", server.Version)
	})
}

func openDriver(c config.Storage) (driver.Driver, error) {
	if c.InMemory != nil {
		return inmemory.New(), nil
	}
	d, err := filesystem.New(c.Filesystem.RootDirectory)
	if err != nil {
		return nil, fmt.Errorf("storage.filesystem.rootdirectory: %w", err)
	}
	return d, nil
}

func openUsers(c *config.Config, log *slog.Logger) (*auth.HTPasswd, error) {
	if c.Auth == nil {
		return nil, nil
	}
	return auth.OpenHTPasswd(c.Auth.HTPasswd.Path, log)
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
