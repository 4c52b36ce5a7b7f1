package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
)

// completionTimeout is how long a person waits for a registry at the press of a key.
const completionTimeout = 3 * time.Second

// completeVersions completes the names of packs in the first argument, and after NAME: its tags. What cannot be found out is
// not completed.
func (o *options) completeVersions(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return o.complete(cmd, typed, true)
}

// completeEveryVersion completes versions in every argument.
func (o *options) completeEveryVersion(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return o.complete(cmd, typed, true)
}

// completeSides completes versions in both arguments, and folders where none begins so.
func (o *options) completeSides(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, directive := o.complete(cmd, typed, true)
	return found, directive &^ cobra.ShellCompDirectiveNoFileComp
}

// completeNames completes the names of packs alone.
func (o *options) completeNames(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.complete(cmd, typed, false)
}

func (o *options) complete(cmd *cobra.Command, typed string, tags bool) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	c, err := o.connect(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	name, _, hasTag := strings.Cut(typed, ":")
	if !hasTag {
		names, err := c.Names(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	if !tags {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := c.List(ctx, name)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return references(list[0]), cobra.ShellCompDirectiveNoFileComp
}

func references(p client.Listed) []string {
	found := make([]string, len(p.Tags))
	for i, tag := range p.Tags {
		found[i] = p.Name + ":" + tag
	}
	return found
}

// completeServers completes the servers that somebody has logged in to.
func (o *options) completeServers(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	config, err := client.LoadConfig(o.home)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range config.Servers() {
		names = append(names, s.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// addCompletions lets each command complete what it is about.
func (o *options) addCompletions(registry, packs *cobra.Command) {
	for _, cmd := range append(packs.Commands(), subcommandsOf(packs, "tag")...) {
		switch cmd.Name() {
		case "describe", "pull", "delete", "add", "copy":
			cmd.ValidArgsFunction = o.completeVersions
		case "save":
			cmd.ValidArgsFunction = o.completeEveryVersion
		case "diff":
			cmd.ValidArgsFunction = o.completeSides
		case "ls":
			cmd.ValidArgsFunction = o.completeNames
		}
	}
	for _, cmd := range registry.Commands() {
		cmd.ValidArgsFunction = o.completeServers
	}
	packs.RegisterFlagCompletionFunc("registry-server", o.completeServers) //nolint:errcheck // the flag is there
}

func subcommandsOf(parent *cobra.Command, name string) []*cobra.Command {
	for _, cmd := range parent.Commands() {
		if cmd.Name() == name {
			return cmd.Commands()
		}
	}
	return nil
}
