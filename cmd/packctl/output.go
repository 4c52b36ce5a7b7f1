package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/terminal"
)

// The forms of output that a command may have besides JSON and YAML: what a person reads.
const (
	formTable = "table"
	formText  = "text"
	formJSON  = "json"
	formYAML  = "yaml"
)

// outputFlag lets a command print its data in other forms than the first, which a person reads. A form that there is not is an
// error before anything is done.
func outputFlag(cmd *cobra.Command, output *string, form string, others ...string) {
	forms := append([]string{form}, append(others, formJSON, formYAML)...)
	*output = form
	last := len(forms) - 1
	short := "o"
	if taken := cmd.Flags().ShorthandLookup(short); taken != nil {
		short = ""
	}
	cmd.Flags().VarP(&choice{output, forms}, "output", short, strings.Join(forms[:last], ", ")+" or "+forms[last])
	cmd.RegisterFlagCompletionFunc("output", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { //nolint:errcheck // the flag is there
		return forms, cobra.ShellCompDirectiveNoFileComp
	})
}

// choice is a flag that takes one of some words.
type choice struct {
	value *string
	words []string
}

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("%q is unknown; use %s", s, strings.Join(c.words, ", "))
	}
	*c.value = s
	return nil
}

func (c *choice) String() string { return *c.value }

// Type implements pflag.Value.
func (c *choice) Type() string { return "string" }

// write prints data as JSON or YAML, or as forPeople prints it.
func write(w io.Writer, form string, data any, forPeople func(w io.Writer) error) error {
	switch form {
	case formJSON:
		text, err := json.MarshalIndent(data, "", "  ")
		if err == nil {
			_, err = fmt.Fprintln(w, terminal.JSON(string(text)))
		}
		return err
	case formYAML:
		text, err := yaml.Marshal(data)
		if err == nil && terminal.IsTerminal(w) { // YAML has no escapes outside of quotes
			text = []byte(terminal.Safe(string(text)))
		}
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	}
	return forPeople(w)
}

// painted is a text of our own, with colours.
type painted string

// say says what was done, unless --quiet. Texts among the arguments may be anybody's.
func (o *options) say(cmd *cobra.Command, format string, args ...any) {
	o.endProgress()
	if o.quiet {
		return
	}
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			args[i] = terminal.Safe(arg)
		case fmt.Stringer:
			args[i] = terminal.Safe(arg.String())
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), format, args...)
}

// report prints what was done: as data, or in words as say does.
func (o *options) report(cmd *cobra.Command, form string, data any, format string, args ...any) error {
	o.endProgress()
	return write(cmd.OutOrStdout(), form, data, func(io.Writer) error {
		o.say(cmd, format, args...)
		return nil
	})
}

// watch shows how far transfers are; nil with --quiet.
func (o *options) watch(cmd *cobra.Command) *terminal.Progress {
	if o.progress == nil && !o.quiet {
		o.progress = terminal.NewProgress(cmd.ErrOrStderr())
	}
	return o.progress
}

// endProgress takes the bars away before something else is printed.
func (o *options) endProgress() { o.progress.End() }
