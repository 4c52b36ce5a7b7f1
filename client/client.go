// Package client talks to a registry about packs: it pushes directories, lists what is there, and pulls versions back.
//
// It is built on the OCI distribution API, so that any OCI registry will do. Where the registry is a pack registry (it
// says so in its answers), packs are pushed through its pack API /v1, whose tags cannot be moved by accident.
//
//	server.go     which server, and as whom
//	config.go     the file of servers that a user has logged in to; login.go what is done with it
//	transport.go  TLS, HTTP and the choice of the API; watchdog.go ends what stalls
//	retry.go      going on after a moment in which the registry was away
//	resume.go     large blobs in chunks, which go on where they were cut; uploadstate.go the files that say where
//	errors.go     kinds of errors, and what they say
//	version.go    finding a version by tag, parent tag or digest
//	push.go, pull.go, list.go, tag.go, diff.go, copy.go, save.go, load.go: what packctl's commands do
//	manifest.go    the OCI form of a version; graph.go what it leads to, and what refers to it
//	layout.go      packs as an OCI image layout; layoutwrite.go, layoutread.go, layouttar.go its files; lock.go what a registry has
package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"packregistry.dev/pack"
)

// annotationMessage keeps the reason for which a version was replaced.
const annotationMessage = "dev.packregistry.message"

// Client is a connection to one registry.
type Client struct {
	server   Server
	registry *remote.Registry
	// plain sends requests as they are, without credentials.
	plain *http.Client
	// schemes is nil where the server must speak what it was said to speak.
	schemes *schemes
}

// Connect prepares a connection. Nothing is sent yet.
func Connect(s Server) (*Client, error) {
	transport, err := newTransport(s)
	if err != nil {
		return nil, err
	}
	r, err := remote.NewRegistry(s.Host)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", s.Host, err)
	}
	c := &Client{server: s, registry: r}
	transport = &packAPI{next: transport}
	if s.Insecure && !s.PlainHTTP && !s.HTTPS {
		c.schemes = &schemes{next: transport}
		transport = c.schemes
	}
	c.plain = &http.Client{Transport: newResender(transport, s.OnRetry)}
	r.PlainHTTP = s.PlainHTTP
	r.Client = &auth.Client{
		Client: c.plain,
		Header: http.Header{"User-Agent": {"packctl"}},
		Cache:  auth.NewCache(),
		Credential: func(ctx context.Context, host string) (auth.Credential, error) {
			if host != s.Host {
				return auth.EmptyCredential, nil
			}
			return s.credentials(ctx)
		},
	}
	return c, nil
}

// Ping checks that the server answers and takes the credentials.
func (c *Client) Ping(ctx context.Context) error { return c.explain(c.registry.Ping(ctx)) }

// prefix is what the names of packs' repositories begin with.
func (c *Client) prefix() string {
	if c.server.BasePath == "" {
		return pack.ArchivePrefix
	}
	return c.server.BasePath + "/" + pack.ArchivePrefix
}

func (c *Client) repository(ctx context.Context, name string) (*remote.Repository, error) {
	r, err := c.registry.Repository(ctx, c.prefix()+name)
	if err != nil {
		return nil, fmt.Errorf("pack %q: %w", name, err)
	}
	return r.(*remote.Repository), nil
}

// url makes the address of a path at the server, for requests that oras-go does not know.
func (c *Client) url(path string) string {
	scheme := "https"
	if c.registry.PlainHTTP {
		scheme = "http"
	}
	return (&url.URL{Scheme: scheme, Host: c.registry.Reference.Host(), Path: path}).String()
}
