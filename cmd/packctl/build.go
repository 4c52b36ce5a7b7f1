package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
	"packregistry.dev/pack"
)

func buildCommand(o *options) *cobra.Command {
	var b client.Build
	var charts []string
	var push bool
	var output string
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
			return o.finishBuild(cmd, built, push, output)
		},
	}
	outputFlag(cmd, &output, formText)
	flags := cmd.Flags()
	flags.StringArrayVar(&charts, "chart", nil, "a chart to put into the pack; may be repeated")
	flags.StringVar(&b.Version, "version", "", "the pack's version (the first chart's unless named)")
	flags.StringVar(&b.DisplayName, "display-name", "", "the name that people see")
	flags.StringVar(&b.Layer, "layer", "addon", "kernel, os, k8s, cni, csi or addon")
	flags.BoolVarP(&push, "push", "p", false, "push the pack, too")
	return cmd
}

// buildReport is what is printed of a pack that was built.
type buildReport struct {
	*client.Validation
	Notes  []string         `json:"notes,omitempty"`
	Pushed []client.Outcome `json:"pushed,omitempty"`
}

// finishBuild validates a pack that was built, pushes it where that is wanted, and reports it.
func (o *options) finishBuild(cmd *cobra.Command, built *client.Built, push bool, form string) error {
	v, d, err := client.Validate(built.Directory)
	if err != nil {
		return err
	}
	if form == formText {
		for _, note := range built.Notes {
			fmt.Fprintln(cmd.ErrOrStderr(), "note:", terminal.Line(note))
		}
		o.say(cmd, "built %s\n", built.Directory)
		o.writeValidation(cmd.OutOrStdout(), v)
	}
	report := buildReport{Validation: v, Notes: built.Notes}
	if push && d != nil {
		c, err := o.connect(cmd)
		if err != nil {
			return err
		}
		report.Pushed = o.pushAll(cmd, c, []string{built.Directory}, []*pack.Directory{d}, client.Batch{}, form)
	}
	if err := write(cmd.OutOrStdout(), form, report, func(io.Writer) error { return nil }); err != nil {
		return err
	}
	if d == nil {
		return &invalidError{built.Directory + " is not a valid pack"}
	}
	return failures(report.Pushed)
}
