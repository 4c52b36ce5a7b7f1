// Command image builds the project's images from its Dockerfile without a container engine: the commands of the build
// stage are run on this machine, and the last stage's COPY, USER, ENTRYPOINT and so on say what the image holds. The
// same sources give the same archive, byte for byte.
//
//	image build --target registry --tag packregistry.dev/registry:dev --output registry.tar
//	image build --target registry --tag packregistry.dev/registry:{digest} --output registry.tar   # a tag that tells contents apart
//	image push registry.tar ghcr.io/me/registry:dev
//
// go-containerregistry writes the archive and pushes it. Buildah and BuildKit would build from a Dockerfile too, but only as root or
// with user namespaces, which many machines that run the tests have not; ko builds Go programs without one, but then what the
// Dockerfile says would be tried nowhere.
//
// What such a build cannot do (a base image, RUN in the last stage) is refused by name.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	root := &cobra.Command{Use: "image", Short: "Build images from the Dockerfile without a container engine",
		SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(buildCommand(), pushCommand())
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func buildCommand() *cobra.Command {
	var b builder
	var output, tag string
	cmd := &cobra.Command{Use: "build", Short: "Build one stage into an archive", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			image, err := b.build(cmd.Context())
			if err != nil {
				return err
			}
			digest, err := image.Digest()
			if err != nil {
				return err
			}
			reference, err := name.NewTag(strings.ReplaceAll(tag, "{digest}", digest.Hex[:12]))
			if err != nil {
				return err
			}
			if err := tarball.WriteToFile(output, reference, image); err != nil {
				return err
			}
			info, err := os.Stat(output)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "image: %s is %s, %.1f MB\n", output, reference, float64(info.Size())/1e6)
			// Scripts read the name here.
			return os.WriteFile(output+".name", []byte(reference.String()+"\n"), 0o644)
		}}
	flags := cmd.Flags()
	flags.StringVar(&b.dockerfile, "file", "Dockerfile", "the Dockerfile")
	flags.StringVar(&b.context, "context", ".", "the folder with the sources")
	flags.StringVar(&b.target, "target", "", "the stage to build")
	flags.StringVar(&b.version, "version", "dev", "the build argument VERSION")
	flags.StringVar(&b.arch, "arch", defaultArch, "the architecture to build for")
	flags.StringVar(&tag, "tag", "", "the image's name")
	flags.StringVar(&output, "output", "", "the archive to write")
	for _, required := range []string{"target", "tag", "output"} {
		cmd.MarkFlagRequired(required) //nolint:errcheck // the flag exists
	}
	return cmd
}

func pushCommand() *cobra.Command {
	return &cobra.Command{Use: "push ARCHIVE REFERENCE", Short: "Push an archive to a registry", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			image, err := tarball.ImageFromPath(args[0], nil)
			if err != nil {
				return err
			}
			reference, err := name.ParseReference(args[1])
			if err != nil {
				return err
			}
			return remote.Write(reference, image, remote.WithContext(cmd.Context()), remote.WithAuthFromKeychain(authn.DefaultKeychain))
		}}
}
