package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/pack"
)

func pushCommand(o *options) *cobra.Command {
	var b client.Batch
	var recursive bool
	var output string
	cmd := &cobra.Command{
		Use: "push DIR...", Short: "Push the packs in folders", Args: cobra.MinimumNArgs(1),
		Long: `Push the packs in folders, each under the tag of its version. All are validated before the first is pushed.

A version that exists is left alone: pushing the same content again changes nothing, pushing other content is refused
unless --force says to replace it and --message says why.`,
		Example: `  packctl pack push nginx-1.16.1
  packctl pack push --recursive packs --registry-server packs.example.com
  packctl pack push --force --message "values fixed" nginx-1.16.1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case b.Force && b.Message == "":
				return usage("--force needs --message: say why the version is replaced")
			case b.SkipDigestCheck && !b.Force:
				return usage("--skip-digest-check needs --force")
			}
			dirs, packs, err := validated(cmd, args, recursive)
			if err != nil {
				return err
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			bars := newBars(cmd.ErrOrStderr())
			if bars != nil {
				b.Progress = bars.start
			}
			outcomes := c.PushAll(cmd.Context(), dirs, packs, b)
			bars.end()
			if err := writeOutcomes(cmd.OutOrStdout(), output, outcomes, b.DryRun); err != nil {
				return err
			}
			return failures(outcomes)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&b.Force, "force", "f", false, "replace versions that exist")
	flags.StringVarP(&b.Message, "message", "m", "", "why they are replaced")
	flags.BoolVar(&b.SkipDigestCheck, "skip-digest-check", false, "with --force, replace them even if the content is the same")
	flags.BoolVar(&recursive, "recursive", false, "push all packs below DIR")
	flags.BoolVar(&b.DryRun, "dry-run", false, "report what would be pushed, and push nothing")
	flags.StringVarP(&output, "output", "o", "text", "text, json or yaml")
	return cmd
}

// validated opens the packs of a command line. Where one is not valid it says so of all, and none is returned.
func validated(cmd *cobra.Command, args []string, recursive bool) ([]string, []*pack.Directory, error) {
	dirs, err := findPacks(args, recursive)
	if err != nil {
		return nil, nil, err
	}
	packs := make([]*pack.Directory, len(dirs))
	var invalid []string
	for i, dir := range dirs {
		v, d, err := client.Validate(dir)
		if err != nil {
			return nil, nil, err
		}
		if packs[i] = d; d == nil {
			invalid = append(invalid, dir)
			writeValidation(cmd.ErrOrStderr(), v)
		}
	}
	if len(invalid) > 0 {
		return nil, nil, &invalidError{"nothing was pushed: not valid: " + listOf(invalid)}
	}
	return dirs, packs, client.SameVersion(dirs, packs)
}

func writeOutcomes(w io.Writer, output string, outcomes []client.Outcome, dry bool) error {
	if output != "text" {
		return write(w, output, outcomes, nil)
	}
	counts := map[string]int{}
	for _, o := range outcomes {
		if o.Error != nil {
			counts["failed"]++
			continue
		}
		what := "pushed"
		switch {
		case o.Unchanged:
			what = "unchanged"
		case o.Replaced:
			what = "replaced"
		}
		counts[what]++
		if dry && !o.Unchanged {
			what = "would be " + what
		}
		fmt.Fprintf(w, "%s %s:%s\n", what, o.Name, o.Tag)
		if len(outcomes) == 1 {
			fmt.Fprintf(w, "archive %s (%s)\ndigest  %s\n", o.Archive, bytesOf(o.Size), o.Digest)
		}
	}
	if len(outcomes) > 1 {
		fmt.Fprintf(w, "%d pushed, %d replaced, %d unchanged, %d failed\n", counts["pushed"], counts["replaced"], counts["unchanged"], counts["failed"])
	}
	return nil
}

// failures is the error of all pushes that failed.
func failures(outcomes []client.Outcome) error {
	var list severalErrors
	for _, o := range outcomes {
		if o.Error != nil {
			list = append(list, o.Error)
		}
	}
	if list == nil {
		return nil
	}
	return list
}

// bytesOf says how large something is, as people read it.
func bytesOf(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
