package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
)

func pullCommand(o *options) *cobra.Command {
	output := pullOutput{place: "folder", form: formText}
	cmd := &cobra.Command{
		Use: "pull NAME[:TAG|@DIGEST] [DIR]", Short: "Pull a version and unpack it into DIR/NAME-VERSION", Args: cobra.RangeArgs(1, 2),
		Long: `Pull a version and unpack it into DIR/NAME-VERSION; DIR is the current folder unless named.

With no tag the newest version is pulled, and with a parent tag (1.x, 1.2.x) the newest below it. With --output archive the
archive is kept as it is, DIR/NAME-VERSION.tar.gz. --output json or yaml, or archive,json, prints what was pulled.`,
		Example: `  packctl pack pull nginx
  packctl pack pull nginx:1.x packs
  packctl pack pull nginx@sha256:5269f073ac8e3c2536270b496ca1cc537e32e44186a5a014b8c48cddca3c6e87 packs
  packctl pack pull nginx archives --output archive,json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, reference, err := client.SplitReference(args[0])
			if err != nil {
				return usageError{err}
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			target := "."
			if len(args) > 1 {
				target = args[1]
			}
			pull := c.Pull
			if output.place == "archive" {
				pull = c.PullArchive
			}
			pulled, err := pull(cmd.Context(), name, reference, target)
			if err != nil {
				return err
			}
			what := args[0]
			if pulled.Tag != "" {
				what = name + ":" + pulled.Tag
			}
			return o.report(cmd, output.form, pulled, "pulled %s to %s\ndigest %s\n", what, pulled.Path, pulled.Digest)
		},
	}
	cmd.Flags().VarP(&output, "output", "o", "folder or archive; json or yaml too")
	return cmd
}

// pullOutput is what a pull makes, and how it is reported.
type pullOutput struct{ place, form string }

// Set implements pflag.Value.
func (p *pullOutput) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		switch {
		case word == "folder" || word == "archive":
			p.place = word
		case slices.Contains([]string{formText, formJSON, formYAML}, word):
			p.form = word
		default:
			return usage("%q is unknown; use folder or archive, and json or yaml", word)
		}
	}
	return nil
}

func (p *pullOutput) String() string { return p.place }

// Type implements pflag.Value.
func (p *pullOutput) Type() string { return "string" }
