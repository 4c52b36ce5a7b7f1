package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func deleteCommand(o *options) *cobra.Command {
	var force bool
	var output string
	var group string
	cmd := &cobra.Command{
		Use: "delete NAME:TAG|NAME@DIGEST", Short: "Delete a version, with every tag of it", Args: cobra.ExactArgs(1),
		Long: `Delete a version, with every tag of it; all are named before it asks. A parent tag (1.x) cannot be deleted, since it is not stored: it
stands for the newest version below it. An alias (stable) does not delete its version; to remove it, or another tag alone: packctl pack
tag delete NAME:TAG.

Its content is freed by the registry's garbage collection.`,
		Example: "  packctl pack delete nginx:1.2.3\n  packctl pack delete --force nginx:1.2.3\n  packctl pack delete ubuntu:14.4.3 --group lts",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, reference, err := versionOf(args[0])
			if err != nil {
				return err
			}
			reference = inGroup(group, reference)
			if !force && !canAsk() {
				return usage("there is no terminal to ask at whether to delete %s; say so with --force", args[0])
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			plan, err := c.PlanDeletion(cmd.Context(), name, reference)
			if err != nil {
				return err
			}
			tags := "no tag"
			if len(plan.Tags) > 0 {
				tags = strings.Join(plan.Tags, ", ")
			}
			if !force {
				if err := confirm(cmd, fmt.Sprintf("Delete %s@%s with every tag of it (%s)?", name, plan.Digest, tags)); err != nil {
					return err
				}
			}
			// By its digest: a tag may have moved while the question was asked.
			if err := c.DeletePlanned(cmd.Context(), plan); err != nil {
				return err
			}
			return o.report(cmd, output, plan, "deleted %s (%s)\ndigest %s\n", deletedName(name, reference), tags, plan.Digest)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	outputFlag(cmd, &output, formText)
	groupFlag(cmd, &group)
	return cmd
}

func deletedName(name, reference string) string {
	if strings.Contains(reference, ":") {
		return name + "@" + reference
	}
	return name + ":" + reference
}

func groupFlag(cmd *cobra.Command, group *string) {
	cmd.Flags().StringVarP(group, "group", "g", "", "the group that the tag belongs to, where its name does not say it")
}

// inGroup gives a tag its group's prefix. Digests and tags that have it stay.
func inGroup(group, tag string) string {
	if group == "" || strings.Contains(tag, ":") || strings.HasPrefix(tag, group+"__") {
		return tag
	}
	return group + "__" + tag
}

func tagCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "tag", Short: "List tags, give versions others, and take them away"}
	cmd.AddCommand(tagAddCommand(o), tagDeleteCommand(o), tagListCommand(o))
	return cmd
}

func tagAddCommand(o *options) *cobra.Command {
	var force bool
	var group, output string
	cmd := &cobra.Command{
		Use: "add NAME:TAG|NAME@DIGEST LABEL", Short: "Give a version another tag", Args: cobra.ExactArgs(2),
		Long: `Give a version another tag: LABEL, or GROUP__LABEL with --group.`,
		Example: `  packctl pack tag add nginx:1.2.3 stable
  packctl pack tag add --force nginx:1.x stable
  packctl pack tag add ubuntu:lts__14.4.3 beta --group lts --registry-server packs.example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, reference, err := versionOf(args[0])
			if err != nil {
				return err
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			tag := inGroup(group, args[1])
			digest, err := c.Tag(cmd.Context(), name, reference, tag, force)
			if err != nil {
				return err
			}
			data := map[string]string{"name": name, "tag": tag, "digest": digest.String()}
			return o.report(cmd, output, data, "%s:%s is %s\ndigest %s\n", name, tag, args[0], digest)
		},
	}
	cmd.Flags().StringVarP(&group, "group", "g", "", "the group that the label belongs to")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "move the tag if it names another version")
	outputFlag(cmd, &output, formText)
	return cmd
}

func tagDeleteCommand(o *options) *cobra.Command {
	var output string
	var group string
	cmd := &cobra.Command{
		Use: "delete NAME:TAG", Short: "Remove a tag; the version stays, by its digest and its other tags", Args: cobra.ExactArgs(1),
		Example: "  packctl pack tag delete nginx:stable\n  packctl pack tag delete ubuntu:beta --group lts",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, tag, err := versionOf(args[0])
			if err != nil {
				return err
			}
			if strings.Contains(tag, ":") {
				return usage("%q: name a tag as NAME:TAG; `packctl pack delete` deletes by digest", args[0])
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			tag = inGroup(group, tag)
			if err := c.Untag(cmd.Context(), name, tag); err != nil {
				return err
			}
			return o.report(cmd, output, map[string]string{"name": name, "tag": tag}, "removed the tag %s:%s\n", name, tag)
		},
	}
	outputFlag(cmd, &output, formText)
	groupFlag(cmd, &group)
	return cmd
}
