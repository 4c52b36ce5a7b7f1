package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"packregistry.dev/client"
	"packregistry.dev/internal/terminal"
)

func canAsk() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

// errInterrupted: Ctrl-C was pressed at a prompt, where the terminal sends no signal.
var errInterrupted = errors.New("interrupted")

// ask reads a line from the terminal, which it does not show if secret, until Ctrl-C or until the context ends.
func ask(cmd *cobra.Command, question string, secret bool) (string, error) {
	stdin := int(os.Stdin.Fd())
	before, err := term.MakeRaw(stdin)
	if err != nil {
		return "", err
	}
	defer term.Restore(stdin, before) //nolint:errcheck // there is no other way to try
	person := &keyboard{Reader: os.Stdin, Writer: cmd.ErrOrStderr()}
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // a read of a terminal cannot be ended; the program ends without it
		var a answer
		if t := term.NewTerminal(person, question); secret {
			a.text, a.err = t.ReadPassword(question)
		} else {
			a.text, a.err = t.ReadLine()
		}
		answers <- a
	}()
	select {
	case a := <-answers:
		if errors.Is(a.err, io.EOF) {
			fmt.Fprint(person, "\r\n")
			if person.interrupted.Load() {
				return "", errInterrupted
			}
			return "", errors.New("no answer")
		}
		return a.text, a.err
	case <-cmd.Context().Done():
		fmt.Fprint(person, "\r\n")
		return "", context.Cause(cmd.Context())
	}
}

// keyboard notices Ctrl-C, which package term does not tell from the end of the input.
type keyboard struct {
	io.Reader
	io.Writer
	interrupted atomic.Bool
}

func (k *keyboard) Read(b []byte) (int, error) {
	const ctrlC = 3
	n, err := k.Reader.Read(b)
	if bytes.IndexByte(b[:n], ctrlC) >= 0 {
		k.interrupted.Store(true)
	}
	return n, err
}

// confirm asks a person, and refuses where there is none to ask.
func confirm(cmd *cobra.Command, question string) error {
	question = terminal.Line(question)
	if !canAsk() {
		return usage("there is no terminal to ask at: %s Say so with --force", question)
	}
	answer, err := ask(cmd, question+" [y/N] ", false)
	if err != nil {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was deleted")
	}
	return nil
}

// maxPassword bounds what is read of standard input.
const maxPassword = 64 << 10

// askCredentials completes a login by what flags, standard input or a person say.
func askCredentials(cmd *cobra.Command, s *client.Server, fromStdin bool) error {
	switch {
	case fromStdin:
		if s.Username == "" {
			return usage("--password-stdin needs --username")
		}
		text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxPassword+1))
		if err != nil {
			return err
		}
		if len(text) > maxPassword {
			return usage("standard input holds more than the %d bytes that a password may have", maxPassword)
		}
		s.Password = strings.TrimRight(string(text), "\r\n")
	case s.Username != "" && s.Password != "":
		fmt.Fprintln(cmd.ErrOrStderr(), "WARNING: everybody on this machine can see a password on a command line, and your shell keeps it; use --password-stdin")
	default:
		if err := askPerson(cmd, s); err != nil {
			return err
		}
	}
	if s.Password == "" {
		return usage("no password for user %s", s.Username)
	}
	return nil
}

func askPerson(cmd *cobra.Command, s *client.Server) (err error) {
	if !canAsk() {
		return usage("there is no terminal to ask for the password at; use --username and --password-stdin")
	}
	if s.Username == "" {
		if s.Username, err = ask(cmd, "Username: ", false); err != nil {
			return err
		}
		s.Username = strings.TrimSpace(s.Username)
	}
	if s.Username == "" {
		return usage("no username")
	}
	if s.Password == "" {
		s.Password, err = ask(cmd, "Password: ", true)
	}
	return err
}
