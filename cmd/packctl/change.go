package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func deleteCommand(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "delete NAME:TAG|NAME@DIGEST", Short: "Delete a version, with every tag of it", Args: cobra.ExactArgs(1),
		Long: `Delete a version, with every tag of it. To remove one tag alone: packctl pack tag delete NAME:TAG.

Its content is freed by the registry's garbage collection.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, reference, err := splitReference(args[0])
			if err != nil {
				return err
			}
			if !force {
				if err := confirm(cmd, "Delete "+args[0]+" with every tag of it?"); err != nil {
					return err
				}
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			digest, err := c.Delete(cmd.Context(), name, reference)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "deleted %s\ndigest %s\n", args[0], digest)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	return cmd
}

// confirm asks a person, and refuses where there is none to ask.
func confirm(cmd *cobra.Command, question string) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return fmt.Errorf("there is no terminal to ask at: %s Say so with --force", question)
	}
	fmt.Fprint(cmd.ErrOrStderr(), question, " [y/N] ")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return err
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was deleted")
	}
	return nil
}

func tagCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "tag", Short: "Give versions other tags, and take them away"}
	cmd.AddCommand(tagAddCommand(o), tagDeleteCommand(o))
	return cmd
}

func tagAddCommand(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "add NAME:TAG|NAME@DIGEST NEW-TAG", Short: "Give a version another tag", Args: cobra.ExactArgs(2),
		Example: "  packctl pack tag add nginx:1.2.3 stable\n  packctl pack tag add --force nginx:1.2.4 stable",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, reference, err := splitReference(args[0])
			if err != nil {
				return err
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			digest, err := c.Tag(cmd.Context(), name, reference, args[1], force)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s:%s is %s\ndigest %s\n", name, args[1], args[0], digest)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "move the tag if it names another version")
	return cmd
}

func tagDeleteCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME:TAG", Short: "Remove a tag; the version stays, by its digest and its other tags", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, tag, err := splitReference(args[0])
			if err != nil {
				return err
			}
			if strings.Contains(tag, ":") {
				return fmt.Errorf("%q: name a tag as NAME:TAG; `packctl pack delete` deletes by digest", args[0])
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			if err := c.Untag(cmd.Context(), name, tag); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "removed the tag %s\n", args[0])
			return nil
		},
	}
}
