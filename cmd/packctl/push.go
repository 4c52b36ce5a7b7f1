package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
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
			dirs, packs, err := o.validated(cmd, args, recursive)
			if err != nil {
				return err
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			if err := o.warnOfGroups(cmd, c, packs); err != nil {
				return err
			}
			return o.push(cmd, c, dirs, packs, b, output)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&b.Force, "force", "f", false, "replace versions that exist")
	flags.StringVarP(&b.Message, "message", "m", "", "why they are replaced")
	flags.BoolVar(&b.SkipDigestCheck, "skip-digest-check", false, "with --force, replace them even if the content is the same")
	flags.BoolVar(&recursive, "recursive", false, "push all packs below DIR")
	flags.BoolVar(&b.DryRun, "dry-run", false, "report what would be pushed, and push nothing")
	outputFlag(cmd, &output, formText)
	return cmd
}

// validated opens the packs of a command line. Where one is not valid it says so of all, and none is returned.
func (o *options) validated(cmd *cobra.Command, args []string, recursive bool) ([]string, []*pack.Directory, error) {
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
			o.writeValidation(cmd.ErrOrStderr(), v)
		}
	}
	if len(invalid) > 0 {
		return nil, nil, &invalidError{"nothing was pushed: not valid: " + listOf(invalid)}
	}
	return dirs, packs, client.SameVersion(dirs, packs)
}

// warnOfGroups says where a pack's group differs from older versions' in case alone.
func (o *options) warnOfGroups(cmd *cobra.Command, c *client.Client, packs []*pack.Directory) error {
	if o.quiet {
		return nil
	}
	for _, d := range packs {
		v := &client.Validation{}
		if err := c.CheckGroup(cmd.Context(), v, d); err != nil {
			return err
		}
		writeViolations(cmd.ErrOrStderr(), terminal.ColorsFor(cmd.ErrOrStderr()).Warn("warning"), v.Warnings)
	}
	return nil
}

// push pushes packs, and reports what came of each.
func (o *options) push(cmd *cobra.Command, c *client.Client, dirs []string, packs []*pack.Directory, b client.Batch, form string) error {
	outcomes := o.pushAll(cmd, c, dirs, packs, b, form)
	err := write(cmd.OutOrStdout(), form, outcomes, func(io.Writer) error { return nil })
	if err != nil {
		return err
	}
	return failures(outcomes)
}

// pushAll pushes packs. As text it says what came of each: where bars are drawn after the last, else as it comes.
func (o *options) pushAll(cmd *cobra.Command, c *client.Client, dirs []string, packs []*pack.Directory, b client.Batch, form string) []client.Outcome {
	details := len(packs) == 1
	progress := o.watch(cmd)
	if progress != nil {
		b.Progress = progress.Start
	}
	if !progress.Draws() && form == formText {
		b.Done = func(outcome client.Outcome) { o.sayOutcome(cmd, outcome, b.DryRun, details) }
	}
	outcomes := c.PushAll(cmd.Context(), dirs, packs, b)
	o.endProgress()
	if form != formText {
		return outcomes
	}
	for _, outcome := range outcomes {
		if b.Done == nil {
			o.sayOutcome(cmd, outcome, b.DryRun, details)
		}
	}
	if !details && cmd.Context().Err() == nil {
		o.say(cmd, "%s\n", summaryOf(outcomes))
	}
	return outcomes
}

// becameOf says in a word what became of a pack.
func becameOf(outcome client.Outcome) string {
	switch {
	case outcome.Error != nil:
		return "failed"
	case outcome.Unchanged:
		return "unchanged"
	case outcome.Replaced:
		return "replaced"
	}
	return "pushed"
}

func (o *options) sayOutcome(cmd *cobra.Command, outcome client.Outcome, dry, details bool) {
	if outcome.Error != nil {
		return // it is the error that the command ends with
	}
	what := becameOf(outcome)
	if dry && !outcome.Unchanged {
		what = "would be " + what
	}
	word := painted(what)
	if !outcome.Unchanged {
		word = painted(terminal.ColorsFor(cmd.OutOrStdout()).Good(what))
	}
	o.say(cmd, "%s %s:%s\n", word, outcome.Name, outcome.Tag)
	if details {
		o.say(cmd, "archive %s (%s)\ndigest  %s\n", outcome.Archive, terminal.Bytes(outcome.Size), outcome.Digest)
	}
}

func summaryOf(outcomes []client.Outcome) string {
	counts := map[string]int{}
	for _, outcome := range outcomes {
		counts[becameOf(outcome)]++
	}
	return fmt.Sprintf("%d pushed, %d replaced, %d unchanged, %d failed", counts["pushed"], counts["replaced"], counts["unchanged"], counts["failed"])
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
