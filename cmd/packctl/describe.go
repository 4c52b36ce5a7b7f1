package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
)

func describeCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "describe NAME[:TAG|@DIGEST]", Short: "Show all that there is to know of a version", Args: cobra.ExactArgs(1),
		Long: `Show all that there is to know of a version, the newest unless named: its tags, pack.json, the images that it lists, its files,
and its README.`,
		Example: "  packctl pack describe nginx\n  packctl pack describe nginx:1.x --output json",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, reference, err := client.SplitReference(args[0])
			if err != nil {
				return usageError{err}
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			d, err := c.Describe(cmd.Context(), name, reference)
			if err != nil {
				return err
			}
			if output == "text" {
				return writeDescription(cmd.OutOrStdout(), d)
			}
			return write(cmd.OutOrStdout(), output, d, nil)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml")
	return cmd
}

func writeDescription(w io.Writer, d *client.Description) error {
	t := table{}
	t.add("Pack", d.Name)
	t.add("Tags", strings.Join(append(d.Tags, d.Parents...), ", "))
	t.add("Digest", d.Digest.String())
	t.add("Archive", d.Archive.String()+" ("+bytesOf(d.Size)+")")
	if d.Message != "" {
		t.add("Message", printable(d.Message))
	}
	t.add("Images", printable(strings.Join(d.Images, ", ")))
	if err := t.write(w); err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, d.Metadata, "", "  "); err == nil {
		fmt.Fprintf(w, "\npack.json\n%s\n", bytes.TrimSpace(indented.Bytes()))
	}
	fmt.Fprintln(w, "\nFiles")
	files := table{}
	for _, f := range d.Files {
		files.add("  "+f.Name, bytesOf(f.Size))
	}
	if err := files.write(w); err != nil || d.Readme == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "\nREADME.md\n%s\n", printable(d.Readme))
	return err
}

// printable takes what moves a terminal's cursor, or changes its state, out of a text of somebody else.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}

func tagListCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "ls NAME", Short: "List a pack's tags, the newest version first", Args: cobra.ExactArgs(1),
		Example: "  packctl pack tag ls nginx",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			list, err := c.TagList(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return write(cmd.OutOrStdout(), output, list, func() table {
				t := table{columns: []string{"TAG", "GROUP", "PARENTS", "DIGEST"}}
				for _, tag := range list {
					t.add(tag.Tag, tag.Group, strings.Join(tag.Parents, " "), tag.Digest.String())
				}
				return t
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}
