package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// write puts the tables of this run into a Markdown file, in place of what stands there between the section's two comments.
func (r *report) write(file, section string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := replaceSection(string(old), section, r.markdown())
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(text), 0o644) //nolint:gosec // a document
}

// replaceSection replaces what stands between <!-- bench SECTION --> and the next <!-- end -->.
func replaceSection(text, section, with string) (string, error) {
	begin := "<!-- bench " + section + " -->\n"
	before, rest, found := strings.Cut(text, begin)
	if !found {
		return "", fmt.Errorf("there is no line %q", strings.TrimSpace(begin))
	}
	_, after, found := strings.Cut(rest, "<!-- end -->")
	if !found {
		return "", fmt.Errorf("no <!-- end --> after %q", strings.TrimSpace(begin))
	}
	return before + begin + with + "<!-- end -->" + after, nil
}

// markdown is a table: a line for each load, the registry's figures, and its ratio to each target that got the same load.
func (r *report) markdown() string {
	var others []string
	for _, row := range r.rows {
		for _, one := range row.results[1:] {
			if !slices.Contains(others, one.target.name) {
				others = append(others, one.target.name)
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d rounds.\n\n| load | requests/s | p50 | p99 | CPU per request | peak MiB |", r.rounds)
	for _, name := range others {
		fmt.Fprintf(&b, " to %s |", name)
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|", 5+len(others)) + "\n")
	for _, row := range r.rows {
		own := row.results[0]
		processor, memory := "-", "-"
		if own.samples[0].known {
			processor = round(time.Duration(own.median(func(s sample) float64 { return float64(s.processor) / float64(max(s.requests, 1)) })))
			memory = fmt.Sprintf("%.0f", own.median(func(s sample) float64 { return float64(s.peak) / mib }))
		}
		fmt.Fprintf(&b, "| %s | %.0f | %s | %s | %s | %s |", row.load, own.median(sample.rate), own.latency(0.5), own.latency(0.99), processor, memory)
		for _, name := range others {
			i := slices.IndexFunc(row.results, func(one result) bool { return one.target.name == name })
			if i < 0 {
				b.WriteString(" |")
				continue
			}
			fmt.Fprintf(&b, " %.2f |", ratio(own, row.results[i], sample.rate))
		}
		b.WriteString("\n")
	}
	return b.String()
}
