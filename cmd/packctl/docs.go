package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func docsCommand() *cobra.Command {
	var man bool
	cmd := &cobra.Command{
		Use: "docs DIR", Short: "Write this documentation as Markdown, or as man pages, into a folder", Args: cobra.ExactArgs(1),
		Example: "  packctl docs docs/packctl\n  packctl docs --man /usr/local/share/man/man1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			write := doc.GenMarkdownTree
			if man {
				write = func(root *cobra.Command, dir string) error {
					return doc.GenManTree(root, &doc.GenManHeader{Title: "PACKCTL", Section: "1", Source: "packctl " + version}, dir)
				}
			}
			if err := write(root, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wrote %s\n", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&man, "man", false, "write man pages")
	return cmd
}
