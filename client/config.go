package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// Config is the file that logins are kept in:
//
//	{"auths": {"packs.example.com": {"auth": "<base64 of user:password>", "insecure": true}}, "defaultRegistry": "…"}
//
// Servers may be named with a scheme too. Where credsStore or credHelpers name one of Docker's credential helpers, it keeps
// the password instead. Other keys stay as they are: the file may be shared with programs that keep their logins in the
// same form.
type Config struct {
	Auths           map[string]Auth
	DefaultRegistry string
	// CredsStore is the helper for all servers, and CredHelpers has those for some.
	CredsStore  string
	CredHelpers map[string]string
	// others are the keys of other programs.
	others map[string]json.RawMessage
}

// Auth is a login.
type Auth struct {
	Auth     string
	Insecure bool
	// PlainHTTP says that the server speaks no TLS.
	PlainHTTP bool
	// CAFile holds certificates of CAs to trust, as --ca-file named it at the login.
	CAFile string
	others map[string]json.RawMessage
}

// keys maps the keys of the file to the fields that they are read into.
func (c *Config) keys() map[string]any {
	return map[string]any{"auths": &c.Auths, "defaultRegistry": &c.DefaultRegistry, "credsStore": &c.CredsStore, "credHelpers": &c.CredHelpers}
}

func (a *Auth) keys() map[string]any {
	return map[string]any{"auth": &a.Auth, "insecure": &a.Insecure, "plainHTTP": &a.PlainHTTP, "caFile": &a.CAFile}
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Config) UnmarshalJSON(text []byte) (err error) {
	c.others, err = readKeys(text, c.keys())
	return err
}

// MarshalJSON implements json.Marshaler.
func (c *Config) MarshalJSON() ([]byte, error) {
	always := map[string]any{"auths": c.Auths}
	if len(c.CredHelpers) > 0 {
		always["credHelpers"] = c.CredHelpers
	}
	return writeKeys(c.others, always, map[string]any{"defaultRegistry": c.DefaultRegistry, "credsStore": c.CredsStore})
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Auth) UnmarshalJSON(text []byte) (err error) {
	a.others, err = readKeys(text, a.keys())
	return err
}

// MarshalJSON implements json.Marshaler.
func (a Auth) MarshalJSON() ([]byte, error) {
	return writeKeys(a.others, nil, map[string]any{"auth": a.Auth, "insecure": a.Insecure, "plainHTTP": a.PlainHTTP, "caFile": a.CAFile})
}

// readKeys reads an object's known keys into their fields, and returns the others.
func readKeys(text []byte, fields map[string]any) (others map[string]json.RawMessage, err error) {
	if err := json.Unmarshal(text, &others); err != nil {
		return nil, err
	}
	for key, field := range fields {
		if value, ok := others[key]; ok {
			if err := json.Unmarshal(value, field); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			delete(others, key)
		}
	}
	return others, nil
}

// writeKeys writes an object of keys of others, keys that are always there, and keys that are there unless empty.
func writeKeys(others map[string]json.RawMessage, always, unlessEmpty map[string]any) ([]byte, error) {
	object := map[string]any{}
	for key, value := range others {
		object[key] = value
	}
	maps.Copy(object, always)
	for key, value := range unlessEmpty {
		if value != "" && value != false {
			object[key] = value
		}
	}
	return json.Marshal(object)
}

const configFile = "config.json"

// LoadConfig reads the file of a home folder. None is an empty one.
func LoadConfig(home string) (*Config, error) {
	c := &Config{Auths: map[string]Auth{}}
	path := filepath.Join(home, configFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
	if len(text) == 0 {
		return c, nil // as touch makes it, or a full disk
	}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %w; mend or remove it", path, err)
	}
	if c.Auths == nil {
		c.Auths = map[string]Auth{}
	}
	return c, nil
}

// Save writes the file whole, readable to its owner alone, and returns its path. Where it is a symbolic link the file that it
// leads to is written.
func (c *Config) Save(home string) (string, error) {
	path := filepath.Join(home, configFile)
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return path, err
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return path, err
	}
	return path, writePrivate(path, append(text, '\n'))
}
