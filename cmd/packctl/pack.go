package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"

	"packregistry.dev/client"
	"packregistry.dev/pack"
)

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate DIR", Short: "Say everything that is wrong with a pack", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := pack.OpenDirectory(args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s:%s is a valid pack\n", d.Name, d.Tag())
			return nil
		},
	}
}

func pushCommand(o *options) *cobra.Command {
	var p client.Push
	cmd := &cobra.Command{
		Use: "push DIR", Short: "Push the pack in a folder", Args: cobra.ExactArgs(1),
		Long: `Push the pack in a folder under the tag of its version.

A version that exists is left alone: pushing the same content again changes nothing, pushing other content is refused
unless --force says to replace it and --message says why.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.Force && p.Message == "" {
				return errors.New("--force needs --message: say why the version is replaced")
			}
			d, err := pack.OpenDirectory(args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			p.Progress = progress(cmd.ErrOrStderr())
			pushed, err := c.Push(cmd.Context(), d, p)
			if err != nil {
				return err
			}
			what := "pushed"
			if pushed.Unchanged {
				what = "unchanged"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s:%s\narchive %s (%d bytes)\ndigest  %s\n",
				what, pushed.Name, pushed.Tag, pushed.Archive, pushed.Size, pushed.Digest)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&p.Force, "force", "f", false, "replace the version if it exists")
	flags.StringVarP(&p.Message, "message", "m", "", "why it is replaced")
	flags.BoolVar(&p.SkipDigestCheck, "skip-digest-check", false, "with --force, replace it even if the content is the same")
	return cmd
}

// progress draws how far an upload has come, where a person is looking.
func progress(w io.Writer) func(sent, total int64) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	const width = 30
	last := -1
	return func(sent, total int64) {
		percent := int(100 * sent / max(total, 1))
		if percent == last {
			return
		}
		last = percent
		done := width * percent / 100
		fmt.Fprintf(w, "\r[%s%s] %3d%%", strings.Repeat("=", done), strings.Repeat(" ", width-done), percent)
		if sent >= total {
			fmt.Fprint(w, "\r\x1b[K")
		}
	}
}

func listCommand(o *options) *cobra.Command {
	var name, output string
	cmd := &cobra.Command{
		Use: "ls", Short: "List packs with their tags", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.connect()
			if err != nil {
				return err
			}
			list, err := c.List(cmd.Context(), name)
			if err != nil {
				return err
			}
			return printList(cmd.OutOrStdout(), list, output)
		},
	}
	cmd.Flags().StringVarP(&name, "name", "n", "", "only this pack")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	return cmd
}

func printList(w io.Writer, list []client.Listed, format string) error {
	switch format {
	case "json":
		text, err := json.MarshalIndent(list, "", "  ")
		if err == nil {
			_, err = fmt.Fprintln(w, string(text))
		}
		return err
	case "yaml":
		text, err := yaml.Marshal(list)
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	case "table":
		table := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
		fmt.Fprintln(table, "PACK\tTAG")
		for _, p := range list {
			for _, tag := range p.Tags {
				fmt.Fprintf(table, "%s\t%s\n", p.Name, tag)
			}
		}
		return table.Flush()
	}
	return fmt.Errorf("--output %q: use table, json or yaml", format)
}

func pullCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "pull NAME:TAG|NAME@DIGEST DIR", Short: "Pull a version and unpack it into DIR/NAME-VERSION", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, reference, err := splitReference(args[0])
			if err != nil {
				return err
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			pulled, err := c.Pull(cmd.Context(), name, reference, args[1])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "pulled %s to %s\ndigest %s\n", args[0], pulled.Directory, pulled.Digest)
			return nil
		},
	}
}

func splitReference(s string) (name, reference string, err error) {
	if name, reference, ok := strings.Cut(s, "@"); ok && name != "" {
		return name, reference, nil
	}
	name, reference, ok := strings.Cut(s, ":")
	if !ok || name == "" || reference == "" {
		return "", "", fmt.Errorf("%q: name a version as NAME:TAG or NAME@DIGEST; `packctl pack ls --name %s` lists the tags", s, name)
	}
	return name, reference, nil
}
