// Command image builds the project's images from its Dockerfile without a container engine: the commands of the build
// stage are run on this machine, and the last stage's COPY, USER, ENTRYPOINT and so on say what the image holds. The
// same sources give the same archive, byte for byte.
//
//	image build --target registry --tag packregistry.dev/registry:dev --output registry.tar
//	image build --target registry --tag packregistry.dev/registry:{digest} --output registry.tar   # a tag that tells contents apart
//	image build --target registry --arch amd64,arm64 --tag packregistry.dev/registry:1.0.0 --layout registry.oci.tar   # an image index
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
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	var output, tag, oci string
	var archs []string
	cmd := &cobra.Command{Use: "build", Short: "Build one stage into an archive", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if oci != "" {
				return buildLayout(cmd.Context(), b, archs, oci, tag)
			}
			if len(archs) != 1 {
				return errors.New("an archive of docker load holds one architecture; --layout writes an index of several")
			}
			b.arch = archs[0]
			return buildArchive(cmd.Context(), b, output, tag)
		}}
	flags := cmd.Flags()
	flags.StringVar(&b.dockerfile, "file", "Dockerfile", "the Dockerfile")
	flags.StringVar(&b.context, "context", ".", "the folder with the sources")
	flags.StringVar(&b.target, "target", "", "the stage to build")
	flags.StringVar(&b.version, "version", "dev", "the build argument VERSION")
	flags.StringSliceVar(&archs, "arch", []string{defaultArch}, "the architectures to build for")
	flags.StringVar(&tag, "tag", "", "the image's name")
	flags.StringVar(&output, "output", "", "the archive to write, for docker load")
	flags.StringVar(&oci, "layout", "", "the archive to write, of an OCI layout with an index of all architectures")
	for _, required := range []string{"target", "tag"} {
		cmd.MarkFlagRequired(required) //nolint:errcheck // the flag exists
	}
	cmd.MarkFlagsOneRequired("output", "layout")
	cmd.MarkFlagsMutuallyExclusive("output", "layout")
	return cmd
}

func buildArchive(ctx context.Context, b builder, output, tag string) error {
	image, err := b.build(ctx)
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
}

// buildLayout prints the index's digest, which is what installations pin.
func buildLayout(ctx context.Context, b builder, archs []string, output, tag string) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	var images []v1.Image
	for _, arch := range archs {
		b.arch = arch
		image, err := b.build(ctx)
		if err != nil {
			return err
		}
		images = append(images, image)
	}
	index, err := platformIndex(images, b.version)
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if err := writeLayout(output, index, reference.Context().Name(), reference.TagStr()); err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

func pushCommand() *cobra.Command {
	return &cobra.Command{Use: "push ARCHIVE REFERENCE", Short: "Push an archive, or an OCI layout (a folder or an archive of it), to a registry", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			reference, err := name.ParseReference(args[1])
			if err != nil {
				return err
			}
			options := []remote.Option{remote.WithContext(cmd.Context()), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
			oci, err := isLayout(args[0])
			if err != nil {
				return err
			}
			if oci {
				return pushLayout(args[0], reference, options)
			}
			image, err := tarball.ImageFromPath(args[0], nil)
			if err != nil {
				return err
			}
			return remote.Write(reference, image, options...)
		}}
}

// pushLayout prints the digest under which the registry has the index then.
func pushLayout(source string, reference name.Reference, options []remote.Option) error {
	index, extracted, err := readLayout(source)
	if extracted != "" {
		defer os.RemoveAll(extracted)
	}
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if err := remote.WriteIndex(reference, index, options...); err != nil {
		return err
	}
	fmt.Println(reference.Context().Digest(digest.String()))
	return nil
}
