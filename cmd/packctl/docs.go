package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// outputs has command lines of each command that prints data, with what they print as JSON. A test runs them, so that the
// documentation of that form is true, and a change of it is seen.
//
//go:embed outputs
var outputs embed.FS

func docsCommand(o *options) *cobra.Command {
	var man bool
	cmd := &cobra.Command{
		Use: "docs DIR", Short: "Write this documentation as Markdown, or as man pages, into a folder", Args: cobra.ExactArgs(1),
		Long:    `Write this documentation as Markdown, or as man pages, into a folder. The Markdown shows what commands print with --output json.`,
		Example: "  packctl docs docs/packctl\n  packctl docs --man man1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			write := writeMarkdown
			if man {
				write = func(root *cobra.Command, dir string) error {
					return doc.GenManTree(root, &doc.GenManHeader{Title: "PACKCTL", Section: "1", Source: "packctl " + version}, dir)
				}
			}
			if err := write(root, args[0]); err != nil {
				return err
			}
			o.say(cmd, "wrote %s\n", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&man, "man", false, "write man pages")
	return cmd
}

// writeMarkdown writes a page for each command, with what it prints as JSON.
func writeMarkdown(root *cobra.Command, dir string) error {
	if err := doc.GenMarkdownTree(root, dir); err != nil {
		return err
	}
	files, err := fs.Glob(outputs, "outputs/*.txt")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := outputs.ReadFile(file)
		if err != nil {
			return err
		}
		page := filepath.Join(dir, strings.TrimSuffix(path.Base(file), ".txt")+".md")
		f, err := os.OpenFile(page, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "\n### Output as JSON\n\nYAML has the same keys. Keys are added, but neither removed nor given another meaning.\n\n```\n%s```\n", text)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}
