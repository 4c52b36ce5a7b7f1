package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
)

func saveCommand(o *options) *cobra.Command {
	var save client.Save
	var versions, partSize, output string
	var since []string
	cmd := &cobra.Command{
		Use: "save NAME... --file FILE", Short: "Write packs into a file, to carry them where no network leads", Args: cobra.MinimumNArgs(1),
		Long: `Write packs into a file, an OCI image layout, with the signatures and attestations of their versions: of NAME all versions, or
those that --versions names; of NAME:TAG and NAME@DIGEST that one. "packctl pack load" puts them into another registry.

The file is a tar archive; a folder where its name ends in a slash. The same content gives the same bytes. oras and skopeo
read it: a version's reference is NAME/TAG. With --since it lacks what the other side has, and only packctl reads it.`,
		Example: `  packctl pack save nginx:1.16.1 -o nginx.tar
  packctl pack save nginx redis --versions ">=1.2" -o packs.tar
  packctl pack save nginx -o packs.tar --since packs.lock --part-size 4Gi
  packctl pack save nginx -o layout/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if save.Path == "" {
				return usage("name the file to write: --file FILE (-o)")
			}
			selections, err := selectionsOf(args, versions)
			if err != nil {
				return err
			}
			if save.PartSize, err = parsePartSize(partSize); err != nil {
				return err
			}
			if save.Since, err = client.ReadLocks(since); err != nil {
				return err
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			saved, err := c.Save(cmd.Context(), selections, save)
			if err != nil {
				return err
			}
			if output != formText {
				o.endProgress()
				return write(cmd.OutOrStdout(), output, saved, nil)
			}
			parts := ""
			if saved.Parts > 0 {
				parts = fmt.Sprintf(" in %d parts", saved.Parts)
			}
			for _, v := range saved.Versions {
				o.say(cmd, "saved %s\n", versionName(v))
			}
			o.say(cmd, "%s%s: %d versions, %s; left out: %d blobs\n", saved.Path, parts, len(saved.Versions), terminal.Bytes(saved.Size), saved.LeftOut)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&save.Path, "file", "o", "", "the file to write, or a folder (ends in a slash)")
	flags.StringVar(&versions, "versions", "", "the versions to save, such as \">=1.2, <2\"")
	flags.StringArrayVar(&since, "since", nil, "a lock that pack load printed: leave out blobs that the other side has")
	flags.StringVar(&partSize, "part-size", "", "split the file into FILE.000, FILE.001, … of this size, such as 4Gi or 650M")
	outputFlag(cmd, &output, formText)
	return cmd
}

func versionName(c client.Copied) string {
	if c.Tag == "" {
		return c.Name + "@" + c.Digest.String()
	}
	return c.Name + ":" + c.Tag
}

func selectionsOf(args []string, versions string) ([]client.Selection, error) {
	var selections []client.Selection
	for _, arg := range args {
		name, reference, err := client.SplitReference(arg)
		if err != nil {
			return nil, usageError{err}
		}
		if reference != "" && versions != "" {
			return nil, usage("%s: name a tag or --versions, not both", arg)
		}
		selections = append(selections, client.Selection{Name: name, Reference: reference, Versions: versions})
	}
	return selections, nil
}

// minPartSize keeps a slip from making very many files.
const minPartSize = 64 << 10

func parsePartSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	size, err := resource.ParseQuantity(text)
	if err != nil || size.Value() < minPartSize {
		return 0, usage("--part-size %q: write a size of 64Ki or more, such as 4Gi or 650M", text)
	}
	return size.Value(), nil
}

func loadCommand(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "load FILE", Short: "Put the packs of a file into a registry", Args: cobra.ExactArgs(1),
		Long: `Put the packs of a file that "packctl pack save" wrote into a registry: a tar archive, the first of its parts, or a folder. All of it
is verified before anything is sent. What is there already is left as it is, so that a load that was interrupted is repeated to
go on.

What was loaded is printed on standard error, and on standard output a lock (JSON): what the registry has of these packs now. Carry
it back, for "packctl pack save --since".`,
		Example: `  packctl pack load packs.tar --registry-server packs.example.com
  packctl pack load packs.tar > packs.lock`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			lock, err := c.Load(cmd.Context(), args[0], force, func(loaded client.Copied) {
				what := "loaded"
				if loaded.Unchanged {
					what = "unchanged"
				}
				o.watch(cmd).Println(what + " " + versionName(loaded))
			})
			if err != nil {
				return err
			}
			o.endProgress()
			return write(cmd.OutOrStdout(), formJSON, lock, nil)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace versions that exist there with other content")
	return cmd
}
