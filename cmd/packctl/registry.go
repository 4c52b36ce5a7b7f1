package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"packregistry.dev/client"
	"packregistry.dev/internal/htpasswd"
	"packregistry.dev/internal/terminal"
)

func loginCommand(o *options) *cobra.Command {
	var username, password string
	var fromStdin, makeDefault bool
	cmd := &cobra.Command{
		Use:   "login [SERVER]",
		Short: "Check credentials and remember them",
		Long: `Check credentials and remember them in ~/.packctl/config.json, readable to you alone, not encrypted.

SERVER is host, host:port, a URL, or oci://host/base/path for an OCI registry that keeps packs below a base path; with
none, the default server. With --insecure any certificate is accepted, and plain HTTP where the server speaks no TLS.
What --insecure and --ca-file say is remembered with the login. Where credsStore or credHelpers in the file name one
of Docker's credential helpers, it keeps the password.`,
		Example: `  packctl registry login packs.example.com
  echo "$PASSWORD" | packctl registry login packs.example.com --username admin --password-stdin
  packctl registry login 10.10.10.1:5000 --insecure --default`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.serverToLogInTo(args)
			if err != nil {
				return err
			}
			if fromStdin && password != "" {
				return usage("--password and --password-stdin contradict each other")
			}
			s.Username, s.Password = username, password
			if err := askCredentials(cmd, &s, fromStdin); err != nil {
				return err
			}
			s.OnRetry = o.reportRetries(cmd)
			return login(cmd, o, s, makeDefault)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&username, "username", "u", "", "the user")
	flags.StringVar(&password, "password", "", "the password, for everybody to see; better use --password-stdin")
	flags.BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	flags.BoolVarP(&makeDefault, "default", "d", false, "make this the default server")
	return cmd
}

func (o *options) serverToLogInTo(args []string) (client.Server, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	} else {
		config, err := client.LoadConfig(o.home)
		if err != nil {
			return client.Server{}, err
		}
		if name = config.DefaultRegistry; name == "" {
			return client.Server{}, usage("name a server; there is no default yet")
		}
	}
	s, err := client.ParseServer(name)
	if err != nil {
		return s, usageError{err}
	}
	if s.PlainHTTP && !o.insecure {
		return s, usage("http:// would send the password for everybody to read; add --insecure if that is what you want")
	}
	s.Insecure, s.CAFile = o.insecure, o.caFile
	return s, nil
}

func login(cmd *cobra.Command, o *options, s client.Server, makeDefault bool) error {
	s, err := client.Verify(cmd.Context(), s)
	if errors.Is(err, client.ErrDenied) {
		if reason := htpasswd.CheckPassword([]byte(s.Password)); reason != nil { // a token of another registry may be long
			err = fmt.Errorf("%w: %w", err, reason)
		}
	}
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	config, err := client.LoadConfig(o.home)
	if err != nil {
		return err
	}
	helper, err := config.Login(cmd.Context(), s)
	if err != nil {
		return err
	}
	if makeDefault {
		config.DefaultRegistry = s.Name()
	}
	path, err := config.Save(o.home)
	if err != nil {
		return err
	}
	if helper != "" {
		o.say(cmd, "The password is kept by docker-credential-%s.\nLogin Succeeded\n", helper)
		return nil
	}
	o.say(cmd, "The password is kept, not encrypted, in %s.\nLogin Succeeded\n", path)
	return nil
}

func logoutCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "logout SERVER", Short: "Forget the credentials for a server", Args: cobra.ExactArgs(1),
		Example: "  packctl registry logout packs.example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := client.ParseServer(args[0])
			if err != nil {
				return usageError{err}
			}
			config, err := client.LoadConfig(o.home)
			if err != nil {
				return err
			}
			known, err := config.Logout(cmd.Context(), s.Host)
			if err != nil {
				return err
			}
			if !known {
				return fmt.Errorf("nobody is logged in to %s; `packctl registry ls` lists the servers", s.Host)
			}
			if _, err := config.Save(o.home); err != nil {
				return err
			}
			o.say(cmd, "Removed the credentials for %s\n", s.Host)
			return nil
		},
	}
}

func serversCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "ls", Short: "List the servers that you are logged in to", Args: cobra.NoArgs,
		Example: "  packctl registry ls\n  packctl registry ls --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := client.LoadConfig(o.home)
			if err != nil {
				return err
			}
			servers := config.Servers()
			return write(cmd.OutOrStdout(), output, servers, func(w io.Writer) error {
				t := terminal.NewTable("SERVER", "USER", "DEFAULT", "INSECURE", "CA FILE")
				if o.quiet {
					t = terminal.NewTable()
				}
				for _, s := range servers {
					if o.quiet {
						t.Add(s.Name)
						continue
					}
					t.Add(s.Name, s.Username, yes(s.Default), yes(s.Insecure), s.CAFile)
				}
				return t.Write(w)
			})
		},
	}
	outputFlag(cmd, &output, formTable)
	return cmd
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
