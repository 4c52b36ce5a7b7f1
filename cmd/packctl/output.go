package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// outputFlag lets a command print its data in other forms than a table.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "table", "table, json or yaml")
}

// table is what a person reads.
type table struct {
	columns []string
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write prints data as JSON or YAML, or the table made of it.
func write(w io.Writer, format string, data any, asTable func() table) error {
	switch format {
	case "json":
		text, err := json.MarshalIndent(data, "", "  ")
		if err == nil {
			_, err = fmt.Fprintln(w, string(text))
		}
		return err
	case "yaml":
		text, err := yaml.Marshal(data)
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	case "table":
		if asTable != nil {
			return asTable().write(w)
		}
	}
	return usage("--output %q is unknown; see --help", format)
}

func (t table) write(w io.Writer) error {
	lines := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	if len(t.columns) > 0 {
		fmt.Fprintln(lines, strings.Join(t.columns, "\t"))
	}
	for _, row := range t.rows {
		fmt.Fprintln(lines, strings.Join(row, "\t"))
	}
	return lines.Flush()
}
