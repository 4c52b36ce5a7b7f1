package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// Verify checks that a registry is at the server, and that it takes the credentials. It returns the server with what was
// found out about it.
func Verify(ctx context.Context, s Server) (Server, error) {
	c, err := Connect(s)
	if err != nil {
		return s, err
	}
	everybody, err := c.probe(ctx, "", "")
	if err != nil {
		return s, err
	}
	s.PlainHTTP = s.PlainHTTP || c.schemes != nil && c.schemes.plain.Load()
	if !everybody {
		return s, c.checkPassword(ctx)
	}
	if s.Username == "" {
		return s, nil
	}
	// A registry that lets everybody in does not ask, and so would not notice a wrong password.
	if _, err := c.probe(ctx, s.Username, s.Password); err != nil {
		return s, err
	}
	return s, c.checkPassword(ctx)
}

func (c *Client) checkPassword(ctx context.Context) error {
	err := c.Ping(ctx)
	if errors.Is(err, ErrDenied) && c.server.Username != "" {
		return denied("%s: unknown user or wrong password", c.server.Host)
	}
	return err
}

// probe asks for /v2/, which says whether a registry is there at all. Whether it lets that user in is the answer; being
// refused is an error for a user only.
func (c *Client) probe(ctx context.Context, username, password string) (letIn bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("/v2/"), nil)
	if err != nil {
		return false, err
	}
	if username != "" {
		r.SetBasicAuth(username, password)
	}
	response, err := c.plain.Do(r)
	if err != nil {
		return false, explainConnection(c.server, err)
	}
	response.Body.Close()
	challenge := response.Header.Get("WWW-Authenticate")
	switch {
	case response.StatusCode == http.StatusOK && !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html"):
		return true, nil
	case response.StatusCode == http.StatusUnauthorized && username != "" && !strings.HasPrefix(strings.ToLower(challenge), "bearer"):
		return false, denied("%s: unknown user or wrong password", c.server.Host)
	case response.StatusCode == http.StatusUnauthorized && challenge != "":
		return false, nil
	case response.StatusCode >= http.StatusInternalServerError, response.StatusCode == http.StatusTooManyRequests:
		return false, fmt.Errorf("%s answered %s", c.server.Host, response.Status)
	}
	return false, fmt.Errorf("%s answers, but not as a registry (%s for /v2/); check the name and the port", c.server.Host, response.Status)
}

// Login keeps a verified login, and returns the helper that has its password now; "" where the file has it.
func (c *Config) Login(ctx context.Context, s Server) (helper string, err error) {
	a := Auth{Insecure: s.Insecure, PlainHTTP: s.PlainHTTP}
	if s.CAFile != "" {
		if a.CAFile, err = filepath.Abs(s.CAFile); err != nil {
			return "", err
		}
	}
	if helper = c.helper(s.Host); helper != "" {
		err := credentials.NewNativeStore(helper).Put(ctx, s.Host, auth.Credential{Username: s.Username, Password: s.Password})
		if err != nil {
			return "", fmt.Errorf("docker-credential-%s: %w", helper, err)
		}
	} else {
		a.Auth = base64.StdEncoding.EncodeToString([]byte(s.Username + ":" + s.Password))
	}
	for _, key := range c.keysOf(s.Host) {
		if key == s.Host {
			a.others = c.Auths[key].others
		}
		delete(c.Auths, key)
	}
	c.Auths[s.Host] = a
	if c.DefaultRegistry == "" {
		c.DefaultRegistry = s.Name()
	}
	return helper, nil
}

// Logout forgets the login for a server, and says whether there was one.
func (c *Config) Logout(ctx context.Context, host string) (known bool, err error) {
	keys := c.keysOf(host)
	for _, key := range keys {
		delete(c.Auths, key)
	}
	if s, err := ParseServer(c.DefaultRegistry); err == nil && s.Host == host {
		c.DefaultRegistry = ""
	}
	if helper := c.helper(host); helper != "" && len(keys) > 0 {
		if err := credentials.NewNativeStore(helper).Delete(ctx, host); err != nil {
			return true, fmt.Errorf("docker-credential-%s: %w", helper, err)
		}
	}
	return len(keys) > 0, nil
}

// helper is the credential helper for a server: the end of its program's name, docker-credential-<helper>.
func (c *Config) helper(host string) string {
	if helper, ok := c.CredHelpers[host]; ok {
		return helper
	}
	return c.CredsStore
}

// keysOf returns the keys of a host's logins, the best first: the host alone, then with a scheme or a path, in order.
func (c *Config) keysOf(host string) []string {
	var keys []string
	for key := range c.Auths {
		if s, err := ParseServer(key); err == nil && s.Host == host {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		if (a == host) != (b == host) {
			return map[bool]int{true: -1, false: 1}[a == host]
		}
		return strings.Compare(a, b)
	})
	return keys
}

// KnownServer is a server that somebody has logged in to.
type KnownServer struct {
	Name     string `json:"name"`
	Username string `json:"username,omitempty"`
	Default  bool   `json:"default"`
	Insecure bool   `json:"insecure"`
	CAFile   string `json:"caFile,omitempty"`
	// Helper has the password, where the file has not.
	Helper string `json:"helper,omitempty"`
}

// Servers returns all servers that somebody has logged in to, by name.
func (c *Config) Servers() []KnownServer {
	list := make([]KnownServer, 0, len(c.Auths))
	standard, _ := ParseServer(c.DefaultRegistry) //nolint:errcheck // then it is nobody's name
	for key, login := range c.Auths {
		s, err := ParseServer(key)
		if err != nil {
			continue // another program's
		}
		k := KnownServer{Name: key, Insecure: login.Insecure, CAFile: login.CAFile, Default: s.Host == standard.Host}
		if user, _, err := login.split(); err == nil {
			k.Username = user
		}
		if login.Auth == "" {
			k.Helper = c.helper(s.Host)
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b KnownServer) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (a Auth) split() (username, password string, err error) {
	decoded, err := base64.StdEncoding.DecodeString(a.Auth)
	username, password, ok := strings.Cut(string(decoded), ":")
	if err == nil && !ok {
		err = errors.New("no colon")
	}
	return username, password, err
}

// Server returns what is known of a server; with no name, of the default one. Where this file has no login for it, Docker's
// is used.
func (c *Config) Server(name string) (Server, error) {
	if name == "" {
		name = c.DefaultRegistry
	}
	if name == "" {
		return Server{}, errors.New("no server named, and there is no default; log in with: packctl registry login SERVER, or name one with --registry-server")
	}
	s, err := ParseServer(name)
	if err != nil {
		return Server{}, err
	}
	keys := c.keysOf(s.Host)
	if len(keys) == 0 {
		s.credential = c.lookUp(s.Host)
		return s, nil
	}
	login := c.Auths[keys[0]]
	s.Insecure, s.CAFile = login.Insecure, login.CAFile
	s.PlainHTTP = s.PlainHTTP || !s.HTTPS && (login.PlainHTTP || strings.HasPrefix(keys[0], "http://"))
	if login.Auth == "" {
		s.credential = c.lookUp(s.Host)
		return s, nil
	}
	if s.Username, s.Password, err = login.split(); err != nil {
		return s, fmt.Errorf("the login for %s is damaged; log in again with: packctl registry login %s", s.Host, s.Host)
	}
	return s, nil
}

// lookUp finds a server's credentials in a helper, or else in Docker's configuration and its helpers.
func (c *Config) lookUp(host string) func(context.Context) (auth.Credential, error) {
	return func(ctx context.Context) (auth.Credential, error) {
		if helper := c.helper(host); helper != "" {
			found, err := credentials.NewNativeStore(helper).Get(ctx, host)
			if err != nil {
				return found, fmt.Errorf("docker-credential-%s: %w", helper, err)
			}
			if found != auth.EmptyCredential {
				return found, nil
			}
		}
		docker, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
		if err != nil {
			return auth.EmptyCredential, fmt.Errorf("the logins of Docker: %w", err)
		}
		return docker.Get(ctx, host)
	}
}
