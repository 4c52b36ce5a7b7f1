package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
)

func describeCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "describe NAME[:TAG|@DIGEST]", Short: "Show all that there is to know of a version", Args: cobra.ExactArgs(1),
		Long: `Show all that there is to know of a version, the newest unless named: its tags, what it needs, the images that it lists, its files,
pack.json, and its README.`,
		Example: "  packctl pack describe nginx\n  packctl pack describe nginx:1.x --output json",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, reference, err := client.SplitReference(args[0])
			if err != nil {
				return usageError{err}
			}
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			d, err := c.Describe(cmd.Context(), name, reference)
			if err != nil {
				return err
			}
			o.endProgress()
			return write(cmd.OutOrStdout(), output, d, func(w io.Writer) error { return writeDescription(w, d) })
		},
	}
	outputFlag(cmd, &output, formText)
	return cmd
}

// metadata is what is shown of pack.json beside its text. Anybody wrote it, so each field may be of another kind.
type metadata struct {
	DisplayName any `json:"displayName"`
	Layer       any `json:"layer"`
	Type        any `json:"addonType"`
	CloudTypes  any `json:"cloudTypes"`
	EOL         any `json:"eol"`
	Constraints struct {
		Dependencies []struct {
			PackName   string `json:"packName"`
			MinVersion string `json:"minVersion"`
			MaxVersion string `json:"maxVersion"`
			Type       string `json:"type"`
		} `json:"dependencies"`
		Resources []struct {
			Type     string `json:"type"`
			MinLimit any    `json:"minLimit"`
		} `json:"resources"`
	} `json:"constraints"`
}

// text is a value of pack.json as a person reads it.
func text(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case []any:
		parts := make([]string, len(value))
		for i, item := range value {
			parts[i] = text(item)
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprint(value)
}

// needs lists the constraints of a pack.
func (m metadata) needs() []string {
	var list []string
	for _, d := range m.Constraints.Dependencies {
		need := "pack " + d.PackName
		for _, bound := range []struct{ operator, version string }{{">=", d.MinVersion}, {"<=", d.MaxVersion}} {
			if bound.version != "" {
				need += " " + bound.operator + bound.version
			}
		}
		if d.Type != "" {
			need += " (" + d.Type + ")"
		}
		list = append(list, need)
	}
	for _, r := range m.Constraints.Resources {
		list = append(list, fmt.Sprintf("%s: at least %s", r.Type, text(r.MinLimit)))
	}
	return list
}

func writeDescription(w io.Writer, d *client.Description) error {
	head := terminal.ColorsFor(w).Head
	var m metadata
	if err := json.Unmarshal(d.Metadata, &m); err != nil {
		m = metadata{} // its text is shown as it is
	}
	t := terminal.NewTable()
	row := func(name, value string) {
		if value != "" {
			t.Add(name, value)
		}
	}
	row("Pack", d.Name)
	row("Display name", text(m.DisplayName))
	row("Tags", strings.Join(append(d.Tags, d.Parents...), ", "))
	row("Layer", strings.Trim(text(m.Layer)+", "+text(m.Type), ", "))
	row("Clouds", text(m.CloudTypes))
	row("End of life", text(m.EOL))
	row("Pushed", whenAndWho(d.Pushed, d.By))
	row("Message", d.Message)
	row("Digest", d.Digest.String())
	row("Archive", d.Archive.String()+" ("+terminal.Bytes(d.Size)+")")
	if err := t.Write(w); err != nil {
		return err
	}
	writeLines(w, head("Constraints"), m.needs())
	writeLines(w, head("Images"), d.Images)
	fmt.Fprintf(w, "\n%s\n", head("Files"))
	files := terminal.NewTable().AlignRight(1)
	for _, f := range d.Files {
		files.Add("  "+f.Name, terminal.Bytes(f.Size))
	}
	if err := files.Write(w); err != nil {
		return err
	}
	if err := writeHistory(w, head("History"), d.History); err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, d.Metadata, "", "  "); err == nil {
		fmt.Fprintf(w, "\n%s\n%s\n", head("pack.json"), terminal.Safe(strings.TrimSpace(indented.String())))
	}
	if d.Readme != "" {
		fmt.Fprintf(w, "\n%s\n%s\n", head("README.md"), terminal.Safe(strings.TrimSpace(d.Readme)))
	}
	return nil
}

func whenAndWho(when *time.Time, who string) string {
	if when == nil {
		return ""
	}
	said := when.UTC().Format(time.RFC3339) + " (" + terminal.Ago(*when, time.Now()) + ")"
	if who != "" {
		said += " by " + who
	}
	return said
}

func writeLines(w io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, line := range lines {
		fmt.Fprintf(w, "  %s\n", terminal.Line(line))
	}
}

func writeHistory(w io.Writer, title string, changes []client.TagChange) error {
	if len(changes) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\n%s\n", title)
	t := terminal.NewTable()
	for _, c := range changes {
		what := c.Tag + " -> " + shortDigest(c.To.String())
		if c.To == "" {
			what = c.Tag + " removed"
		}
		if c.From != "" {
			what += ", before " + shortDigest(c.From.String())
		}
		t.Add("  "+c.Time.UTC().Format(time.RFC3339), c.By, what, c.Message)
	}
	return t.Write(w)
}

func tagListCommand(o *options) *cobra.Command {
	var output, group string
	cmd := &cobra.Command{
		Use: "ls NAME", Short: "List a pack's tags, the newest version first", Args: cobra.ExactArgs(1),
		Example: "  packctl pack tag ls nginx\n  packctl pack tag ls nginx --output json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			list, err := c.TagList(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if group != "" {
				list = slices.DeleteFunc(list, func(t client.TagInfo) bool { return !strings.HasPrefix(t.Tag, group+"__") })
			}
			return write(cmd.OutOrStdout(), output, list, func(w io.Writer) error {
				if o.quiet {
					return writeNames(w, list, func(t client.TagInfo) string { return t.Tag })
				}
				t := terminal.NewTable("TAG", "GROUP", "PARENTS", "DIGEST")
				for _, tag := range list {
					t.Add(tag.Tag, tag.Group, strings.Join(tag.Parents, " "), tag.Digest.String())
				}
				return t.Write(w)
			})
		},
	}
	outputFlag(cmd, &output, formTable)
	cmd.Flags().StringVarP(&group, "group", "g", "", "only tags of this group")
	return cmd
}
