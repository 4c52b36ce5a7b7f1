package main

import (
	"strings"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
)

func copyCommand(o *options) *cobra.Command {
	var versions string
	var force bool
	cmd := &cobra.Command{
		Use: "copy [SERVER/]NAME[:TAG] SERVER", Short: "Copy a pack to another registry", Args: cobra.ExactArgs(2),
		Long: `Copy a pack to another registry, with the signatures and attestations of its versions: the version of TAG, the versions that
--versions names, or all. Digests stay the same, and what is there already is left as it is.

The pack is taken from the server that is named before it, by --registry-server, or by default.`,
		Example: `  packctl pack copy nginx:1.16.1 packs.example.com
  packctl pack copy packs.example.com/nginx mirror.example.com:5000 --versions ">=1.2, <2"
  packctl pack copy nginx:1.x oci://harbor.example.com/prod
  packctl pack copy oci://harbor.example.com/test/nginx:1.16.1 oci://harbor.example.com/prod`,
		RunE: func(cmd *cobra.Command, args []string) error {
			from := *o
			source := args[0]
			if i := strings.LastIndex(source, "/"); i >= 0 {
				from.server, source = source[:i], source[i+1:]
			}
			name, reference, err := client.SplitReference(source)
			if err != nil {
				return usageError{err}
			}
			if reference != "" && versions != "" {
				return usage("name a tag or --versions, not both")
			}
			here, err := from.connect(cmd)
			if err != nil {
				return err
			}
			target := *o
			target.server = args[1]
			there, err := target.connect(cmd)
			if err != nil {
				return err
			}
			return here.Copy(cmd.Context(), name, reference, versions, there, force, func(c client.Copied) {
				what := "copied"
				if c.Unchanged {
					what = "unchanged"
				}
				o.say(cmd, "%s %s:%s\ndigest %s\n", what, c.Name, c.Tag, c.Digest)
			})
		},
	}
	cmd.Flags().StringVar(&versions, "versions", "", "the versions to copy, such as \">=1.2, <2\"")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace versions that exist there with other content")
	return cmd
}
