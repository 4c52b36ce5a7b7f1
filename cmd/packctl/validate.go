package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
	"packregistry.dev/pack"
)

const formSARIF = "sarif"

func validateCommand(o *options) *cobra.Command {
	var strict, recursive bool
	var output string
	cmd := &cobra.Command{
		Use: "validate DIR...", Short: "Report everything that is wrong with packs, and what could be better", Args: cobra.MinimumNArgs(1),
		Long: `Report everything that is wrong with packs, and what could be better.

A pack with errors is refused by registries, by the same rules. Warnings do not keep it from being pushed. With --registry-server
packs are compared with the versions that are there, too.`,
		Example: `  packctl pack validate nginx
  packctl pack validate --recursive --strict packs
  packctl pack validate nginx --registry-server packs.example.com
  packctl pack validate --output sarif nginx > results.sarif`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := findPacks(args, recursive)
			if err != nil {
				return err
			}
			var registry *client.Client
			if o.server != "" {
				if registry, err = o.connect(cmd); err != nil {
					return err
				}
			}
			found := make([]*client.Validation, len(dirs))
			errors := 0
			for i, dir := range dirs {
				if found[i], err = validate(cmd.Context(), dir, registry); err != nil {
					return err
				}
				if strict {
					found[i].Strict()
				}
				errors += len(found[i].Errors)
			}
			if err := o.writeValidations(cmd.OutOrStdout(), output, found); err != nil {
				return err
			}
			if errors > 0 {
				return &invalidError{fmt.Sprintf("%d errors in %d packs", errors, len(dirs))}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&strict, "strict", false, "take warnings for errors")
	flags.BoolVar(&recursive, "recursive", false, "validate all packs below DIR")
	outputFlag(cmd, &output, formText, formSARIF)
	return cmd
}

// validate validates a pack with all that a registry, if there is one, and the pack's charts show.
func validate(ctx context.Context, dir string, registry *client.Client) (*client.Validation, error) {
	v, d, err := client.Validate(dir)
	if err != nil || d == nil {
		return v, err
	}
	v.CheckImages(d)
	if registry != nil {
		err = registry.CheckGroup(ctx, v, d)
	}
	return v, err
}

// invalidError is the end of a validation whose errors were printed.
type invalidError struct{ message string }

func (e *invalidError) Error() string        { return e.message }
func (e *invalidError) Is(target error) bool { return target == client.ErrRefused }

// findPacks finds the packs that a command line names, and says what is meant most likely by a folder of packs.
func findPacks(dirs []string, recursive bool) ([]string, error) {
	if !recursive {
		for _, dir := range dirs {
			if below := client.PacksIn(dir); len(below) > 0 {
				return nil, usage("%s is no pack, and has packs in it: %s; name them, or add --recursive", dir, listOf(below))
			}
		}
	}
	return client.FindPacks(dirs, recursive)
}

// listOf names the first of many.
func listOf(names []string) string {
	const most = 5
	text := ""
	for i, name := range names[:min(len(names), most)] {
		if i > 0 {
			text += ", "
		}
		text += name
	}
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

func (o *options) writeValidations(w io.Writer, output string, found []*client.Validation) error {
	if output == formSARIF {
		return write(w, formJSON, client.SARIF(found), nil)
	}
	return write(w, output, found, func(w io.Writer) error {
		for _, v := range found {
			o.writeValidation(w, v)
		}
		return nil
	})
}

// writeValidation writes what was found of a pack; with --quiet errors alone.
func (o *options) writeValidation(w io.Writer, v *client.Validation) {
	name := terminal.Line(v.Directory)
	if v.Name != "" && v.Tag != "" {
		name = terminal.Line(v.Name + ":" + v.Tag)
	}
	switch {
	case len(v.Errors) > 0:
		fmt.Fprintf(w, "%s is not a valid pack (%s)\n", name, terminal.Line(v.Directory))
	case o.quiet:
		return
	default:
		fmt.Fprintf(w, "%s is a valid pack\n", name)
	}
	colors := terminal.ColorsFor(w)
	writeViolations(w, colors.Bad("error"), v.Errors)
	if o.quiet {
		return
	}
	writeViolations(w, colors.Warn("warning"), v.Warnings)
}

func writeViolations(w io.Writer, kind string, list []pack.Violation) {
	for _, violation := range list {
		fmt.Fprintf(w, "  %s: %s\n", kind, terminal.Line(violation.String()))
	}
}
