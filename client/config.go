package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Config is the file that logins are kept in:
//
//	{"auths": {"packs.example.com": {"auth": "<base64 of user:password>", "insecure": true}}, "defaultRegistry": "…"}
type Config struct {
	Auths           map[string]Auth `json:"auths"`
	DefaultRegistry string          `json:"defaultRegistry,omitempty"`
}

// Auth is a login.
type Auth struct {
	Auth     string `json:"auth"`
	Insecure bool   `json:"insecure,omitempty"`
	// PlainHTTP says that the server speaks no TLS.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
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
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.Auths == nil {
		c.Auths = map[string]Auth{}
	}
	return c, nil
}

// Save writes the file whole, readable to its owner alone, and returns its path.
func (c *Config) Save(home string) (string, error) {
	path := filepath.Join(home, configFile)
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return path, err
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return path, err
	}
	f, err := os.CreateTemp(home, ".config-") // 0600
	if err != nil {
		return path, err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(append(text, '\n')); err != nil {
		f.Close()
		return path, err
	}
	if err := f.Close(); err != nil {
		return path, err
	}
	return path, os.Rename(f.Name(), path)
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
