package main

import (
	"github.com/spf13/cobra"

	"packregistry.dev/client"
)

func initCommand(o *options) *cobra.Command {
	var name, output string
	cmd := &cobra.Command{
		Use: "init DIR", Short: "Make a folder to write a pack of manifests in", Args: cobra.ExactArgs(1),
		Example: "  packctl pack init my-app\n  packctl pack init packs/my-app-1.0.0 --name my-app",
		RunE: func(cmd *cobra.Command, args []string) error {
			made, err := client.InitPack(args[0], name)
			if err != nil {
				return err
			}
			data := map[string]string{"directory": args[0], "name": made.Name, "tag": made.Tag()}
			return o.report(cmd, output, data, "made %s:%s in %s\nedit pack.json, values.yaml and manifests/; then: packctl pack validate %s\n", made.Name, made.Tag(), args[0], args[0])
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the pack's name (the folder's unless named)")
	outputFlag(cmd, &output, formText)
	return cmd
}
