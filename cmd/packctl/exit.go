package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
	"packregistry.dev/pack"
)

// The exit codes, which pipelines rely on.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3 // by the registry's rules, or a pack's
	exitDenied      = 4 // not authenticated, or not allowed
	exitNotFound    = 5
	exitDiffers     = 6 // with pack diff --exit-code
	exitInterrupted = 130
)

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// severalErrors are those of several packs.
type severalErrors []error

func (e severalErrors) Error() string   { return errors.Join(e...).Error() }
func (e severalErrors) Unwrap() []error { return e }

// finish says what went wrong, and returns the exit code.
func finish(ctx context.Context, cmd *cobra.Command, err error) int {
	code := exitCode(ctx, err)
	switch code {
	case exitDone, exitDiffers:
	case exitInterrupted:
		fmt.Fprintln(os.Stderr, "packctl: interrupted; nothing is left half-written")
	case exitUsage:
		line := cmd.UseLine()
		if cmd.HasSubCommands() {
			line = cmd.CommandPath() + " COMMAND"
		}
		fmt.Fprintf(os.Stderr, "packctl: %s\n\nUsage:\n  %s\nSee '%s --help'.\n", terminal.Safe(err.Error()), line, cmd.CommandPath())
	default:
		fmt.Fprintln(os.Stderr, terminal.ColorsFor(os.Stderr).Bad("packctl:"), terminal.Safe(err.Error()))
	}
	return code
}

func exitCode(ctx context.Context, err error) int {
	var invalid *pack.Error
	var wrong usageError
	var several severalErrors
	if errors.As(err, &several) && ctx.Err() == nil {
		for _, one := range several {
			// What failed for a moment is worth another try, whatever is wrong with the others.
			if exitCode(ctx, one) == exitFailed {
				return exitFailed
			}
		}
	}
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil, errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &wrong):
		return exitUsage
	case errors.Is(err, errDiffers):
		return exitDiffers
	case errors.Is(err, client.ErrDenied):
		return exitDenied
	case errors.Is(err, client.ErrNotFound):
		return exitNotFound
	case errors.Is(err, client.ErrRefused), errors.As(err, &invalid):
		return exitRefused
	}
	return exitFailed
}

// markUsageErrors lets what is wrong with flags, arguments and names of commands be usage errors, for a command and all
// below it. Cobra prints a group's help for a subcommand that it does not know, and takes that for success.
func markUsageErrors(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, sub := range cmd.Commands() {
		markUsageErrors(sub)
	}
	if cmd.HasSubCommands() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownCommand(cmd, args[0])
		}
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			if !cmd.HasParent() {
				return cmd.Help()
			}
			return usage("name what to do: %s", strings.Join(subcommands(cmd), ", "))
		}
		return
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return usage("unknown command %q for %q; did you mean %q?", name, cmd.CommandPath(), near[0])
	}
	return usage("unknown command %q for %q; it has %s", name, cmd.CommandPath(), strings.Join(subcommands(cmd), ", "))
}

func subcommands(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}
