package main

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
)

func listCommand(o *options) *cobra.Command {
	l := &listing{options: o}
	cmd := &cobra.Command{
		Use: "ls [NAME]", Short: "List packs, or the versions of one", Args: cobra.MaximumNArgs(1),
		Long: `List packs, each with its newest version, or the versions of one, the newest first.

An argument that is a server that you are logged in to, that holds a colon, or that comes with --name,
is taken for the server. --filter COLUMN=VALUE leaves out other rows; columns are pack, layer, type and newest, and of versions tag and group.
Of several filters for one column one must fit, of those for several columns each. A registry that is no pack
registry knows names and tags alone.`,
		Example: `  packctl pack ls
  packctl pack ls nginx
  packctl pack ls --name nginx packs.example.com
  packctl pack ls --filter layer=csi --filter layer=cni --wide
  packctl pack ls --all --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.nameOrServer(args, &l.name); err != nil {
				return err
			}
			filter, err := l.parseFilters()
			if err != nil {
				return err
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			if l.ofVersions() {
				return l.versions(cmd, c, filter)
			}
			packs, err := c.Packs(cmd.Context())
			if err != nil {
				return err
			}
			return l.packs(cmd, packs, filter)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&l.name, "name", "n", "", "only this pack")
	flags.StringArrayVar(&l.filters, "filter", nil, "COLUMN=VALUE: only such rows; may be repeated")
	flags.BoolVar(&l.all, "all", false, "all versions of all packs, with a request for each version")
	l.wideFlag(cmd)
	outputFlag(cmd, &l.output, formTable)
	return cmd
}

// listing is what a list shows, and how.
type listing struct {
	*options
	name, output string
	filters      []string
	all, wide    bool
}

func (l *listing) wideFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&l.wide, "wide", false, "more columns, and whole dates and digests")
}

func (l *listing) ofVersions() bool { return l.name != "" || l.all }

// filter is which values columns may have.
type filter map[string][]string

// parseFilters reads the filters, whose columns must be those of the list.
func (l *listing) parseFilters() (filter, error) {
	columns := []string{"pack", "layer", "type", "newest"}
	if l.ofVersions() {
		columns = []string{"pack", "tag", "group"}
	}
	f := filter{}
	for _, text := range l.filters {
		column, value, ok := strings.Cut(text, "=")
		if !ok || !slices.Contains(columns, column) {
			return nil, usage("--filter %q: write it as COLUMN=VALUE; columns are %s", text, strings.Join(columns, ", "))
		}
		f[column] = append(f[column], value)
	}
	return f, nil
}

// fits says whether a row with these values is one of those that are wanted.
func (f filter) fits(row map[string]string) bool {
	for column, values := range f {
		if !slices.ContainsFunc(values, func(value string) bool { return strings.EqualFold(value, row[column]) }) {
			return false
		}
	}
	return true
}

// packs prints a list of packs.
func (l *listing) packs(cmd *cobra.Command, list []client.Summary, f filter) error {
	list = slices.DeleteFunc(list, func(s client.Summary) bool {
		return !f.fits(map[string]string{"pack": s.Name, "layer": s.Layer, "type": s.Type, "newest": s.Newest})
	})
	return write(cmd.OutOrStdout(), l.output, nonNil(list), func(w io.Writer) error {
		if l.quiet {
			return writeNames(w, list, func(s client.Summary) string { return s.Name })
		}
		columns := []string{"PACK", "LAYER", "TYPE", "NEWEST", "VERSIONS", "SIZE", "UPDATED"}
		if l.wide {
			columns = append(columns, "DISPLAY NAME", "DIGEST")
		}
		t := terminal.NewTable(columns...).AlignRight(4, 5)
		for _, s := range list {
			row := []string{s.Name, s.Layer, s.Type, s.Newest, strconv.Itoa(s.Versions), sizeOf(s.Size), l.date(s.Updated)}
			if l.wide {
				row = append(row, s.DisplayName, s.Digest.String())
			}
			t.Add(row...)
		}
		return t.Write(w)
	})
}

// versions prints a list of versions.
func (l *listing) versions(cmd *cobra.Command, c *client.Client, f filter) error {
	var list []client.Version
	var err error
	if l.name != "" {
		list, err = c.Versions(cmd.Context(), l.name)
	} else {
		list, err = c.AllVersions(cmd.Context())
	}
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(v client.Version) bool {
		return !f.fits(map[string]string{"pack": v.Name, "tag": v.Tag, "group": v.Group})
	})
	return write(cmd.OutOrStdout(), l.output, nonNil(list), func(w io.Writer) error {
		if l.quiet {
			return writeNames(w, list, func(v client.Version) string { return v.Name + ":" + firstTag(v) })
		}
		columns, first := []string{"TAG", "GROUP", "PARENTS", "ALIASES", "SIZE", "PUSHED", "BY", "DIGEST"}, 0
		if l.name == "" {
			columns, first = append([]string{"PACK"}, columns...), 1
		}
		t := terminal.NewTable(columns...).AlignRight(4 + first)
		for _, v := range list {
			row := []string{v.Name, v.Tag, v.Group, strings.Join(v.Parents, " "), strings.Join(v.Aliases, " "), sizeOf(v.Size), l.date(v.Pushed), v.By, l.digest(v.Digest.String())}
			t.Add(row[1-first:]...)
		}
		return t.Write(w)
	})
}

// firstTag is a tag of a version.
func firstTag(v client.Version) string {
	if v.Tag != "" || len(v.Aliases) == 0 {
		return v.Tag
	}
	return v.Aliases[0]
}

func writeNames[T any](w io.Writer, list []T, name func(T) string) error {
	t := terminal.NewTable()
	for _, item := range list {
		t.Add(name(item))
	}
	return t.Write(w)
}

// nonNil is a list that is [] in JSON where it is empty.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// sizeOf is empty where the size is not known.
func sizeOf(n int64) string {
	if n == 0 {
		return ""
	}
	return terminal.Bytes(n)
}

// date is how long ago something was, or with --wide when.
func (l *listing) date(t *time.Time) string {
	switch {
	case t == nil:
		return ""
	case l.wide:
		return t.UTC().Format(time.RFC3339)
	}
	return terminal.Ago(*t, time.Now())
}

// digest is a short digest, or with --wide all of it.
func (l *listing) digest(d string) string {
	if l.wide {
		return d
	}
	return shortDigest(d)
}

// shortDigest is the beginning of a digest, which is enough to tell one from another.
func shortDigest(d string) string { return d[:min(len(d), len("sha256:")+12)] }

// nameOrServer takes an argument for the name of a pack, or for a server where it can only be one.
func (o *options) nameOrServer(args []string, name *string) error {
	if len(args) == 0 {
		return nil
	}
	config, err := client.LoadConfig(o.home)
	if err != nil {
		return err
	}
	isServer := strings.Contains(args[0], ":") || *name != ""
	for _, known := range config.Servers() {
		isServer = isServer || known.Name == args[0]
	}
	switch {
	case isServer && o.server == "":
		o.server = args[0]
	case isServer:
		return usage("two servers: %s and %s", o.server, args[0])
	default:
		*name = args[0]
	}
	return nil
}
