package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/pack"
)

func buildCommand(o *options) *cobra.Command {
	var b client.Build
	var charts []string
	var push bool
	cmd := &cobra.Command{
		Use: "build NAME TARGET_DIR --chart CHART", Short: "Make a pack from Helm charts", Args: cobra.ExactArgs(2),
		Long: `Make a pack from Helm charts, in the folder TARGET_DIR/NAME-VERSION.

CHART is an archive or a folder, oci://HOST/PATH/CHART:VERSION, or https://HOST/PATH/CHART:VERSION in a repository of charts.
The chart's values go below charts.CHART in values.yaml, and the images that it uses with these values under
pack.content.images. README and icon are the first chart's.`,
		Example: `  packctl pack build nginx packs --chart nginx-1.16.1.tgz
  packctl pack build web packs --chart ./web --chart oci://ghcr.io/example/charts/redis:1.2.3
  packctl pack build nginx packs --chart https://charts.example.com/stable/nginx:1.16.1 --push --registry-server packs.example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(charts) == 0 {
				return usage("name a chart with --chart")
			}
			b.Name = args[0]
			for _, source := range charts {
				c, err := client.LoadChart(cmd.Context(), source, func(server string) (*client.Client, error) {
					return (&options{home: o.home, server: server, caFile: o.caFile, insecure: o.insecure}).connect(cmd)
				})
				if err != nil {
					return err
				}
				b.Charts = append(b.Charts, c)
			}
			built, err := client.BuildPack(cmd.Context(), b, args[1])
			if err != nil {
				return err
			}
			for _, note := range built.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", note)
			}
			v, d, err := client.Validate(built.Directory)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "built %s\n", built.Directory)
			writeValidation(cmd.OutOrStdout(), v)
			if d == nil {
				return &invalidError{built.Directory + " is not a valid pack"}
			}
			if !push {
				return nil
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			outcomes := c.PushAll(cmd.Context(), []string{built.Directory}, []*pack.Directory{d}, client.Batch{})
			if err := writeOutcomes(cmd.OutOrStdout(), "text", outcomes, false); err != nil {
				return err
			}
			return failures(outcomes)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&charts, "chart", nil, "a chart to put into the pack; may be repeated")
	flags.StringVar(&b.Version, "version", "", "the pack's version (the first chart's unless named)")
	flags.StringVar(&b.DisplayName, "display-name", "", "the name that people see")
	flags.StringVar(&b.Layer, "layer", "addon", "kernel, os, k8s, cni, csi or addon")
	flags.BoolVarP(&push, "push", "p", false, "push the pack, too")
	return cmd
}
