package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"packregistry.dev/server"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
)

// This file holds the commands that work on a storage without serving it.

// onStorage makes cmd a command of that kind: it takes the configuration's file, logs to standard error, writes JSON to standard
// output, and can be interrupted.
func onStorage(cmd *cobra.Command, work func(ctx context.Context, c *config.Config, log *slog.Logger, out *json.Encoder) error) {
	var lenient bool
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.Flags().BoolVar(&lenient, "lenient", false, "warn of unknown keys in the file instead of refusing them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		c, log, err := load(args, lenient, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		return work(ctx, c, log, json.NewEncoder(cmd.OutOrStdout()))
	}
}

func collectCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "garbage-collect [FILE]",
		Short: "Collect garbage once, as the server does by itself at every interval",
		Long: `Collect garbage once, as the server does by itself at every storage.maintenance.garbagecollection.interval.
Servers may go on serving the same storage meanwhile.

What nothing refers to is marked for deletion first. A later collection removes it, when it has been
marked for the grace period (blobs) or for keepuntagged (manifests that no tag names any more) and
still nothing refers to it. So the first run on a store that was never collected removes nothing.

A summary goes to standard output, as JSON.`,
		Example: `  registry garbage-collect --dry-run /etc/registry/config.yml
  registry garbage-collect /etc/registry/config.yml`,
	}
	onStorage(cmd, func(ctx context.Context, c *config.Config, log *slog.Logger, out *json.Encoder) error {
		done, err := server.CollectOnce(ctx, c, dryRun, log)
		if err != nil {
			return err
		}
		return out.Encode(done)
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, only print what would be marked and removed")
	return cmd
}

func verifyCommand() *cobra.Command {
	var quarantine bool
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
	}
	onStorage(cmd, func(ctx context.Context, c *config.Config, _ *slog.Logger, out *json.Encoder) error {
		content, err := server.OpenStore(ctx, c)
		if err != nil {
			return err
		}
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
	})
	cmd.Flags().IntVar(&mib, "rate", 0, "read at most so many MiB a second; 0 is as fast as it goes")
	cmd.Flags().BoolVar(&quarantine, "quarantine", false, "move what is corrupt aside")
	return cmd
}

func importCommand() *cobra.Command {
	var directory string
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Take over what a CNCF distribution registry has stored",
		Long: `Take over what a CNCF distribution registry has stored (docker/registry/v2): by default where the
configuration's own storage is, so that the old file and the old volume or bucket can stay as they are.
It is only read, and can be removed afterwards.

Everything is compared with its digest on the way. What is there already is passed over: an import that
was interrupted goes on, and one that is repeated brings what came meanwhile. What cannot be taken over
is listed at the end, in a summary as JSON; the exit status is 1 then.

Packs are not validated. A tag that is taken over stays as it is; before it is pushed or tagged again a
pack is validated as any other (packs.validation).`,
		Example: `  registry import /etc/registry/config.yml
  registry import --from /var/lib/registry /etc/registry/config.yml`,
	}
	onStorage(cmd, func(ctx context.Context, c *config.Config, log *slog.Logger, out *json.Encoder) error {
		done, err := server.Import(ctx, c, directory, log)
		if err != nil {
			return err
		}
		if err := out.Encode(done); err != nil {
			return err
		}
		if n := len(done.Problems); n > 0 {
			return fmt.Errorf("%d things could not be taken over", n)
		}
		return nil
	})
	cmd.Flags().StringVar(&directory, "from", "", "directory of the old registry, if it is not that of the configuration")
	return cmd
}
