package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// Config is the file that logins are kept in:
//
//	{"auths": {"packs.example.com": {"auth": "<base64 of user:password>", "insecure": true}}, "defaultRegistry": "…"}
//
// Other keys stay as they are: the file may be shared with programs that keep their logins in the same form.
type Config struct {
	Auths           map[string]Auth
	DefaultRegistry string
	// others are the keys of other programs.
	others map[string]json.RawMessage
}

// Auth is a login.
type Auth struct {
	Auth     string
	Insecure bool
	// PlainHTTP says that the server speaks no TLS.
	PlainHTTP bool
	others    map[string]json.RawMessage
}

// keys maps the keys of the file to the fields that they are read into.
func (c *Config) keys() map[string]any {
	return map[string]any{"auths": &c.Auths, "defaultRegistry": &c.DefaultRegistry}
}

func (a *Auth) keys() map[string]any {
	return map[string]any{"auth": &a.Auth, "insecure": &a.Insecure, "plainHTTP": &a.PlainHTTP}
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Config) UnmarshalJSON(text []byte) (err error) {
	c.others, err = readKeys(text, c.keys())
	return err
}

// MarshalJSON implements json.Marshaler.
func (c *Config) MarshalJSON() ([]byte, error) {
	return writeKeys(c.others, map[string]any{"auths": c.Auths}, map[string]any{"defaultRegistry": c.DefaultRegistry})
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Auth) UnmarshalJSON(text []byte) (err error) {
	a.others, err = readKeys(text, a.keys())
	return err
}

// MarshalJSON implements json.Marshaler.
func (a Auth) MarshalJSON() ([]byte, error) {
	return writeKeys(a.others, nil, map[string]any{"auth": a.Auth, "insecure": a.Insecure, "plainHTTP": a.PlainHTTP})
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

// Login remembers credentials.
func (c *Config) Login(s Server) {
	c.Auths[s.Host] = Auth{
		Auth:     base64.StdEncoding.EncodeToString([]byte(s.Username + ":" + s.Password)),
		Insecure: s.Insecure, PlainHTTP: s.PlainHTTP,
	}
	if c.DefaultRegistry == "" {
		c.DefaultRegistry = s.Host
	}
}

// Logout forgets the credentials for a server, and says whether there were any.
func (c *Config) Logout(host string) bool {
	_, known := c.Auths[host]
	delete(c.Auths, host)
	if c.DefaultRegistry == host {
		c.DefaultRegistry = ""
	}
	return known
}

// Server returns what is known of a server; with no name, of the default one.
func (c *Config) Server(name string) (Server, error) {
	if name == "" {
		name = c.DefaultRegistry
	}
	if name == "" {
		return Server{}, errors.New("no server named, and there is no default; log in with: packctl registry login SERVER, or name one with --registry-server")
	}
	host, plain, err := ParseServer(name)
	if err != nil {
		return Server{}, err
	}
	s := Server{Host: host, PlainHTTP: plain}
	login, ok := c.Auths[host]
	if !ok {
		return s, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(login.Auth)
	user, password, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok {
		return s, fmt.Errorf("the login for %s is damaged; log in again with: packctl registry login %s", host, host)
	}
	s.Username, s.Password = user, password
	s.Insecure = login.Insecure
	s.PlainHTTP = s.PlainHTTP || login.PlainHTTP
	return s, nil
}
