package main

import (
	"strings"

	"github.com/spf13/cobra"
)

func searchCommand(o *options) *cobra.Command {
	l := &listing{options: o}
	cmd := &cobra.Command{
		Use: "search WORD...", Short: "Find packs by words of their names, display names, layers and types", Args: cobra.MinimumNArgs(1),
		Long: `Find packs by words of their names, display names, layers and types: those that all words fit, the best first, whatever the case.

A registry that is no pack registry knows names alone.`,
		Example: "  packctl pack search nginx\n  packctl pack search ingress controller --output json",
		RunE: func(cmd *cobra.Command, args []string) error {
			words := strings.Fields(strings.Join(args, " "))
			if len(words) == 0 {
				return usage("name a word to search for")
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			found, err := c.Search(cmd.Context(), words)
			if err != nil {
				return err
			}
			if len(found) == 0 && l.output == formTable {
				o.say(cmd, "no pack fits %s\n", strings.Join(words, " "))
				return nil
			}
			return l.packs(cmd, found, nil)
		},
	}
	l.wideFlag(cmd)
	outputFlag(cmd, &l.output, formTable)
	return cmd
}
