package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"packregistry.dev/client"
	"packregistry.dev/internal/htpasswd"
)

func loginCommand(o *options) *cobra.Command {
	var username string
	var fromStdin, makeDefault bool
	cmd := &cobra.Command{
		Use:   "login SERVER",
		Short: "Check credentials and remember them",
		Long: `Check credentials and remember them in ~/.packctl/config.json, readable to you alone, not encrypted.

SERVER is host or host:port. With --insecure any certificate is accepted, and http://SERVER speaks no TLS.
The password is asked for, or read from standard input with --password-stdin; it is never an argument, where others
could see it.`,
		Example: "  packctl registry login packs.example.com\n  echo \"$PASSWORD\" | packctl registry login packs.example.com --username admin --password-stdin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, plain, err := client.ParseServer(args[0])
			if err != nil {
				return err
			}
			if plain && !o.insecure {
				return errors.New("http:// would send the password for everybody to read; add --insecure if that is what you want")
			}
			s := client.Server{Host: host, PlainHTTP: plain, Insecure: o.insecure, CAFile: o.caFile, Username: username}
			if err := askCredentials(cmd, &s, fromStdin); err != nil {
				return err
			}
			return login(cmd.Context(), cmd.OutOrStdout(), o, s, makeDefault)
		},
	}
	cmd.Flags().StringVarP(&username, "username", "u", "", "the user")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVarP(&makeDefault, "default", "d", false, "make this the default server")
	return cmd
}

func login(ctx context.Context, out io.Writer, o *options, s client.Server, makeDefault bool) error {
	c, err := client.Connect(s)
	if err != nil {
		return err
	}
	err = c.Ping(ctx)
	if errors.Is(err, client.ErrDenied) {
		err = errors.New("unknown user or wrong password")
		if reason := htpasswd.CheckPassword([]byte(s.Password)); reason != nil { // a token of another registry may be long
			err = fmt.Errorf("%w: %w", err, reason)
		}
	}
	if err != nil {
		return fmt.Errorf("login to %s: %w", s.Host, err)
	}
	config, err := client.LoadConfig(o.home)
	if err != nil {
		return err
	}
	config.Login(s)
	if makeDefault {
		config.DefaultRegistry = s.Host
	}
	path, err := config.Save(o.home)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The password is kept, not encrypted, in %s.\nLogin Succeeded\n", path)
	return nil
}

func logoutCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "logout SERVER", Short: "Forget the credentials for a server", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, _, err := client.ParseServer(args[0])
			if err != nil {
				return err
			}
			config, err := client.LoadConfig(o.home)
			if err != nil {
				return err
			}
			if !config.Logout(host) {
				return fmt.Errorf("nobody is logged in to %s", host)
			}
			if _, err := config.Save(o.home); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Removed the credentials for %s\n", host)
			return nil
		},
	}
}

func askCredentials(cmd *cobra.Command, s *client.Server, fromStdin bool) error {
	if fromStdin {
		if s.Username == "" {
			return errors.New("--password-stdin needs --username")
		}
		const most = 64 << 10
		text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), most+1))
		if len(text) > most {
			return fmt.Errorf("standard input holds more than the %d bytes that a password may have", most)
		}
		s.Password = strings.TrimRight(string(text), "\r\n")
		return err
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("there is no terminal to ask for the password at; use --username and --password-stdin")
	}
	if s.Username == "" {
		fmt.Fprint(cmd.ErrOrStderr(), "Username: ")
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil {
			return err
		}
		s.Username = strings.TrimSpace(line)
	}
	fmt.Fprint(cmd.ErrOrStderr(), "Password: ")
	text, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	s.Password = string(text)
	return err
}
