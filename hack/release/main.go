// Command release makes and checks what a release consists of. It needs no network once the Go modules and tools are fetched.
//
//	release build --version 1.2.3 --source DIR --output dist     # from a clean copy of the sources
//	release compare dist again                                   # byte by byte
//	release verify dist
//
// Two builds of the same sources are the same bytes, whichever folders they lie in: archives are sorted, without owners, and their
// times are 1980's; programs know no path and no version control.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	root := &cobra.Command{Use: "release", Short: "Make and check a release", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(buildCommand(), verifyCommand(), compareCommand())
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func buildCommand() *cobra.Command {
	var b builder
	cmd := &cobra.Command{Use: "build", Short: "Make a release", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.build(cmd.Context()) }}
	flags := cmd.Flags()
	flags.StringVar(&b.version, "version", "", "the version, such as 1.2.3")
	flags.StringVar(&b.source, "source", ".", "the sources; a clean copy of them for what others are to make again")
	flags.StringVar(&b.output, "output", "dist", "the folder to make")
	flags.StringVar(&b.repository, "repository", "packregistry.dev", "where the images will be: REPOSITORY/registry and REPOSITORY/operator")
	flags.StringVar(&b.image, "image-builder", "bin/image", "the program that builds images")
	flags.StringVar(&b.kubectl, "kubectl", "kubectl", "for kustomize")
	flags.StringVar(&b.sbom, "cyclonedx-gomod", "cyclonedx-gomod", "the program that lists a program's modules")
	flags.StringSliceVar(&b.platforms, "platforms", nil, "only these, such as linux/amd64, for a trial")
	cmd.MarkFlagRequired("version") //nolint:errcheck // the flag exists
	return cmd
}

func verifyCommand() *cobra.Command {
	return &cobra.Command{Use: "verify DIR", Short: "Check that a release is whole and unchanged", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			release, err := verify(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: version %s, %d files, all as recorded\n", args[0], release.Version, len(release.Artifacts))
			return nil
		}}
}

func compareCommand() *cobra.Command {
	return &cobra.Command{Use: "compare DIR DIR", Short: "Say which files of two releases differ", Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return compare(args[0], args[1]) }}
}

func compare(first, second string) error {
	a, err := list(first)
	if err != nil {
		return err
	}
	b, err := list(second)
	if err != nil {
		return err
	}
	var found error
	for name, one := range a {
		switch other, ok := b[name]; {
		case !ok:
			found = errors.Join(found, fmt.Errorf("%s is in %s only", name, first))
		case one != other:
			found = errors.Join(found, fmt.Errorf("%s differs: %s in %s, %s in %s", name, one.Digest, first, other.Digest, second))
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			found = errors.Join(found, fmt.Errorf("%s is in %s only", name, second))
		}
	}
	return found
}

// list measures every file of a folder, which has no folders in it.
func list(dir string) (map[string]Artifact, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := map[string]Artifact{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("%s is no regular file", filepath.Join(dir, e.Name()))
		}
		if found[e.Name()], err = measure(dir, e.Name()); err != nil {
			return nil, err
		}
	}
	return found, nil
}
