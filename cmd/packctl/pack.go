package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
)

func listCommand(o *options) *cobra.Command {
	var name, output string
	cmd := &cobra.Command{
		Use: "ls [NAME]", Short: "List packs with their tags, the newest version first", Args: cobra.MaximumNArgs(1),
		Long: `List packs with their tags, the newest version first.

An argument that is a server that you are logged in to, that holds a colon, or that comes with --name,
is taken for the server.`,
		Example: "  packctl pack ls\n  packctl pack ls nginx\n  packctl pack ls --name nginx packs.example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.nameOrServer(args, &name); err != nil {
				return err
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			list, err := c.List(cmd.Context(), name)
			if err != nil {
				return err
			}
			return write(cmd.OutOrStdout(), output, list, func() table { return listTable(list) })
		},
	}
	cmd.Flags().StringVarP(&name, "name", "n", "", "only this pack")
	outputFlag(cmd, &output)
	return cmd
}

// nameOrServer takes an argument for the name of a pack, or for a server where it can only be one.
func (o *options) nameOrServer(args []string, name *string) error {
	if len(args) == 0 {
		return nil
	}
	config, err := client.LoadConfig(o.home)
	if err != nil {
		return err
	}
	isServer := strings.Contains(args[0], ":") || *name != ""
	for _, known := range config.Servers() {
		isServer = isServer || known.Name == args[0]
	}
	switch {
	case isServer && o.server == "":
		o.server = args[0]
	case isServer:
		return usage("two servers: %s and %s", o.server, args[0])
	default:
		*name = args[0]
	}
	return nil
}

func listTable(list []client.Listed) table {
	t := table{columns: []string{"PACK", "TAG"}}
	for _, p := range list {
		for _, tag := range p.Tags {
			t.add(p.Name, tag)
		}
	}
	return t
}

func pullCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "pull NAME[:TAG|@DIGEST] [DIR]", Short: "Pull a version and unpack it into DIR/NAME-VERSION", Args: cobra.RangeArgs(1, 2),
		Long: `Pull a version and unpack it into DIR/NAME-VERSION; DIR is the current folder unless named.

With no tag the newest version is pulled, and with a parent tag (1.x, 1.2.x) the newest below it. With --output archive the
archive is kept as it is, DIR/NAME-VERSION.tar.gz.`,
		Example: `  packctl pack pull nginx
  packctl pack pull nginx:1.x packs
  packctl pack pull nginx@sha256:5269f073ac8e3c2536270b496ca1cc537e32e44186a5a014b8c48cddca3c6e87 packs`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, reference, err := client.SplitReference(args[0])
			if err != nil {
				return usageError{err}
			}
			if output != "folder" && output != "archive" {
				return usage("--output %q: use folder or archive", output)
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
			if output == "archive" {
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
			fmt.Fprintf(cmd.OutOrStdout(), "pulled %s to %s\ndigest %s\n", what, pulled.Path, pulled.Digest)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "folder", "folder or archive")
	return cmd
}

// versionOf splits a reference to a version that must be named.
func versionOf(s string) (name, reference string, err error) {
	name, reference, err = client.SplitReference(s)
	if err == nil && reference == "" {
		err = fmt.Errorf("%q: name a version as NAME:TAG or NAME@DIGEST; `packctl pack ls %s` lists the tags", s, name)
	}
	if err != nil {
		return "", "", usageError{err}
	}
	return name, reference, nil
}
