package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
	"packregistry.dev/pack"
)

// errDiffers has an exit code of its own, so that a pipeline can tell packs that differ from a comparison that failed.
var errDiffers = errors.New("the packs differ")

func diffCommand(o *options) *cobra.Command {
	var output string
	var code bool
	cmd := &cobra.Command{
		Use: "diff A B", Short: "Compare two versions, or a folder and a version", Args: cobra.ExactArgs(2),
		Long: `Compare two versions, or a folder and a version: the files that differ, and unified diffs of pack.json and values.yaml.

A version is NAME:TAG, NAME@DIGEST, or NAME for the newest. A folder is one that holds a pack.json; write ./NAME where there is
a pack of that name too.

The exit code is 0 whether they differ or not. With --exit-code it is 6 if they differ.`,
		Example: `  packctl pack diff nginx:1.16.1 nginx:1.17.0
  packctl pack diff nginx:1.x ./nginx-1.17.0
  packctl pack diff --exit-code --output json nginx ./nginx-1.17.0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := o.side(cmd, args[0])
			if err != nil {
				return err
			}
			b, err := o.side(cmd, args[1])
			if err != nil {
				return err
			}
			d := client.Diff(a, b)
			o.endProgress()
			err = write(cmd.OutOrStdout(), output, d, func(w io.Writer) error { return writeDifference(w, d) })
			if err == nil && code && !d.Same {
				return errDiffers
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&code, "exit-code", false, "exit with 6 if they differ")
	outputFlag(cmd, &output, formText)
	return cmd
}

// side reads what an argument names.
func (o *options) side(cmd *cobra.Command, arg string) (*client.Side, error) {
	if isFolder(arg) {
		return client.DirectorySide(cmd.Context(), arg)
	}
	name, reference, err := client.SplitReference(arg)
	if err != nil {
		return nil, usageError{err}
	}
	c, err := o.connect(cmd)
	if err != nil {
		return nil, err
	}
	return c.VersionSide(cmd.Context(), name, reference)
}

// isFolder: the name of a pack holds no slash and does not begin with a dot.
func isFolder(arg string) bool {
	if strings.ContainsRune(arg, filepath.Separator) || strings.HasPrefix(arg, ".") {
		return true
	}
	_, err := os.Stat(filepath.Join(arg, pack.MetadataFile))
	return err == nil
}

func writeDifference(w io.Writer, d *client.Difference) error {
	if d.Same {
		_, err := fmt.Fprintf(w, "%s and %s are the same\n", terminal.Safe(d.A.String()), terminal.Safe(d.B.String()))
		return err
	}
	t := terminal.NewTable()
	for _, f := range d.Files {
		size := terminal.Bytes(f.To)
		switch {
		case f.Change == client.Removed:
			size = terminal.Bytes(f.From)
		case f.Change == client.Changed && f.From != f.To:
			size = terminal.Bytes(f.From) + " to " + terminal.Bytes(f.To)
		}
		t.Add(string(f.Change), f.Name, size)
	}
	if err := t.Write(w); err != nil {
		return err
	}
	for _, text := range []string{d.Metadata, d.Values} {
		if text != "" {
			fmt.Fprintf(w, "\n%s", terminal.Safe(text))
		}
	}
	return nil
}
