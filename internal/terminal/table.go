package terminal

import (
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Table is rows of cells below headings.
type Table struct {
	columns []string
	rows    [][]string
	right   map[int]bool
}

// NewTable makes a table; without columns it has no headings.
func NewTable(columns ...string) *Table { return &Table{columns: columns, right: map[int]bool{}} }

// AlignRight lets columns of numbers, counted from 0, end below each other.
func (t *Table) AlignRight(columns ...int) *Table {
	for _, c := range columns {
		t.right[c] = true
	}
	return t
}

// Add adds a row. Cells may hold what anybody wrote.
func (t *Table) Add(cells ...string) { t.rows = append(t.rows, cells) }

// style has no lines, and three blanks between columns.
var style = table.Style{
	Name: "packctl",
	Box:  table.BoxStyle{PaddingRight: "   "},
	Format: table.FormatOptions{
		Header: text.FormatDefault, Row: text.FormatDefault,
	},
}

// Write writes the table.
func (t *Table) Write(w io.Writer) error {
	if len(t.columns)+len(t.rows) == 0 {
		return nil
	}
	colors := ColorsFor(w)
	out := table.NewWriter()
	out.SetStyle(style)
	out.SuppressTrailingSpaces()
	configs := make([]table.ColumnConfig, 0, len(t.right))
	for c := range t.right {
		configs = append(configs, table.ColumnConfig{Number: c + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	out.SetColumnConfigs(configs)
	if len(t.columns) > 0 {
		out.AppendHeader(cellsOf(t.columns, colors.Head))
	}
	for _, row := range t.rows {
		out.AppendRow(cellsOf(row, func(s string) string { return s }))
	}
	_, err := io.WriteString(w, out.Render()+"\n")
	return err
}

func cellsOf(texts []string, paint func(string) string) table.Row {
	row := make(table.Row, len(texts))
	for i, s := range texts {
		row[i] = paint(Line(s))
	}
	return row
}
