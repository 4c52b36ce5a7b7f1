// Package server is the registry: an HTTP server with two APIs to one store. /v2/ is the OCI distribution API,
// /v1/, the pack API, shows the packs among the repositories of that same store.
//
//	routes.go      the table of all routes, and what each asks of the caller
//	handler.go     what happens to every request: headers, authentication, log line, metrics
//	errors.go      the table of error codes; a handler returns an error, which is rendered and logged in one place
//	blob.go upload.go manifest.go tag.go referrers.go catalog.go index.go
//	               the handlers, by resource
//	pack_validate.go pack_files.go pack_list.go
//	               packs: what is checked of one that is pushed, and the files inside of them
//	auth.go token.go
//	               who asks and what they may do, by password or by token
//	pages.go       what the server does for the pages at /ui/
//	location.go    URLs of this server, as clients see them
//	budget.go      places of uploads and of unpacking, the memory of manifests, and the processors, shared by users and addresses
//	health.go      /health; probes, metrics and profiles have a listener of their own, in internal/health
//	maintenance.go what the commands of maintenance do with the storage, without serving it
//	server.go      putting it together; starting, and stopping without dropping what is in flight
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/config"
	"packregistry.dev/server/internal/basepaths"
	"packregistry.dev/server/internal/certs"
	"packregistry.dev/server/internal/connections"
	"packregistry.dev/server/internal/cursor"
	"packregistry.dev/server/internal/health"
	"packregistry.dev/server/internal/maintenance"
	"packregistry.dev/server/internal/pages"
	"packregistry.dev/server/internal/share"
	"packregistry.dev/server/internal/storage"
	"packregistry.dev/server/internal/summaries"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/internal/tokens"
	"packregistry.dev/server/internal/watch"
	"packregistry.dev/server/internal/work"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/instrumented"
)

// Version is the program's version; the build sets it.
var Version = "dev"

// Server is a registry. Make it with Open or New, start it with Run; it is an http.Handler too.
type Server struct {
	config *config.Config
	store  *store.Store
	users  *auth.HTPasswd
	policy *auth.Policy
	// basePaths are where packs have more names.
	basePaths basepaths.Paths
	// tokens is nil where clients are given none.
	tokens *tokens.Tokens
	// warnedOfBase is done once the log says that the URLs that clients use are not known.
	warnedOfBase sync.Once
	proxies      []netip.Prefix
	log          *slog.Logger
	access       *slog.Logger
	// combined is where the access log goes in Apache's format, if it does.
	combined *telemetry.CombinedLog
	prefix   string
	// headers are those of every answer, by their canonical names.
	headers map[string][]string
	// contentPolicies is the Content-Security-Policy of answers of the API.
	contentPolicies []string
	metrics         *telemetry.Metrics
	tracing         *telemetry.Tracing
	space           *health.Space
	health          *health.Checker
	cursors         *cursor.Cipher
	// uploads has a place for each request that brings content, unpacks for each that reads an archive's files, and validations for each
	// push whose archive is validated.
	uploads, unpacks, validations *share.Pool
	// indexes has a place for each request of the index, which lists the tags of many packs.
	indexes   *share.Pool
	summaries *summaries.Index
	// manifests is the memory that manifests may take.
	manifests manifestBudget
	// work lets long computations have half of the processors, passwords of users among them.
	work *work.Gate
	// pages is nil where there are none.
	pages *pages.Pages
}

// Open makes a server of a configuration alone: it opens the storage and reads the users.
func Open(ctx context.Context, c *config.Config, log *slog.Logger) (*Server, error) {
	var users *auth.HTPasswd
	var err error
	if c.Auth != nil && c.Auth.HTPasswd != nil {
		if users, err = auth.OpenHTPasswd(c.Auth.HTPasswd.Path, log); err != nil {
			return nil, err
		}
	}
	if c.Storage.S3 != nil {
		log.Info("opening the storage", "bucket", c.Storage.S3.Bucket, "endpoint", c.Storage.S3.Endpoint())
	}
	d, err := storage.Open(ctx, c.Storage)
	if err != nil {
		return nil, err
	}
	m := telemetry.NewMetrics()
	content, err := store.Open(ctx, instrumented.New(d, m.StorageOperation))
	if err != nil {
		return nil, err
	}
	s := newServer(c, content, users, m, log)
	if err := s.basePaths.Check(ctx, content.Repositories); err != nil {
		return nil, err
	}
	return s, s.addPages()
}

// New makes a server of its parts. users is nil for a registry that is open to all, or has no users.
func New(c *config.Config, content *store.Store, users *auth.HTPasswd, log *slog.Logger) *Server {
	s := newServer(c, content, users, telemetry.NewMetrics(), log)
	if err := s.addPages(); err != nil {
		log.Error("there are no pages", "error", err)
	}
	return s
}

func newServer(c *config.Config, content *store.Store, users *auth.HTPasswd, m *telemetry.Metrics, log *slog.Logger) *Server {
	prefix := "/" + strings.Trim(c.HTTP.Prefix, "/") + "/"
	if prefix == "//" {
		prefix = "/"
	}
	s := &Server{config: c, store: content, users: users, log: log, access: log, prefix: prefix, metrics: m,
		space:       &health.Space{Store: content, Log: log},
		health:      &health.Checker{Config: c, Store: content, Log: log},
		cursors:     &cursor.Cipher{Store: content, ReadOnly: c.Storage.Maintenance.ReadOnly.Enabled},
		uploads:     share.New(int64(c.HTTP.Limits.Uploads), 1),
		indexes:     share.New(maxIndexes, 1),
		summaries:   summaries.New(content, log),
		unpacks:     share.New(int64(c.HTTP.Limits.Unpacks), 1),
		validations: share.New(max(1, int64(c.HTTP.Limits.Unpacks)/2), 1),
		manifests:   newManifestBudget(c.HTTP.Limits.ManifestBytes),
		work:        work.New(),
		basePaths:   basepaths.New(c.Packs.BasePaths)}
	s.headers = make(map[string][]string, len(c.HTTP.Headers))
	for name, values := range c.HTTP.Headers {
		s.headers[name] = slices.Clip([]string(values))
	}
	s.contentPolicies = contentPolicies(s.headers["Content-Security-Policy"])
	if c.Storage.Filesystem != nil {
		s.space.MinFree = uint64(c.Storage.Filesystem.MinFree) //nolint:gosec // never negative
	}
	if c.Auth != nil {
		s.policy = auth.NewPolicy(c.Auth.Access)
		s.tokens = newTokens(content, users, s.policy, log)
	}
	s.proxies, _ = config.ParseNetworks(c.HTTP.TrustedProxies) //nolint:errcheck // validated with the configuration
	switch {
	case c.Log.AccessLog.Disabled:
		s.access = slog.New(slog.DiscardHandler)
	case c.Log.AccessLog.Formatter == "combined":
		s.combined = &telemetry.CombinedLog{W: os.Stdout}
	}
	if purging := c.Storage.Maintenance.UploadPurging; (purging.Enabled == nil || *purging.Enabled) && !purging.DryRun {
		content.UploadAge = time.Duration(purging.Age)
	}
	content.ReadOnly = c.Storage.Maintenance.ReadOnly.Enabled
	if users != nil {
		users.Work = s.work
		m.UnusableLines.Set(float64(len(users.Unusable())))
		users.Observe = func(err error) {
			m.Reload("users", err)
			m.UnusableLines.Set(float64(len(users.Unusable())))
		}
	}
	return s
}

// Bounds on how slowly a client may begin. A whole transfer has none: large packs over slow lines take their time.
const (
	headerTimeout = 15 * time.Second
	idleTimeout   = 2 * time.Minute
)

// readinessDelay is how long the server still accepts after it has begun to fail its readiness probe, so that load
// balancers stop sending before it accepts no more.
const readinessDelay = 500 * time.Millisecond

// Run serves until the context ends, then lets requests in flight finish within the drain timeout. It returns nil after
// an orderly end. listening is called once with the address that is served.
func (s *Server) Run(ctx context.Context, listening func(net.Addr)) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	defer s.summaries.Close()

	var err error
	if s.tracing, err = telemetry.NewTracing(ctx, Version, s.log); err != nil {
		return err
	}
	defer s.tracing.End()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.config.HTTP.Addr)
	if err != nil {
		return fmt.Errorf("http.addr: %w", err)
	}
	defer listener.Close() // serving closes it too, but not where it fails to begin
	server, err := s.httpServer(background, &group)
	if err != nil {
		return err
	}
	debug, err := s.health.StartDebug(&group, s.metrics.Handler())
	if err != nil {
		return err
	}
	s.startBackground(background, &group)

	failed := make(chan error, 1)
	group.Go(func() {
		if server.TLSConfig != nil {
			failed <- server.ServeTLS(listener, "", "")
			return
		}
		failed <- server.Serve(listener)
	})
	listening(listener.Addr())
	select {
	case err := <-failed:
		return errors.Join(err, debug.Close())
	case <-ctx.Done():
	}
	return errors.Join(s.drain(background, server), debug.Close())
}

// drain ends the server: probes fail first, then no more connections are taken, then what is in flight finishes.
func (s *Server) drain(ctx context.Context, server *http.Server) error {
	timeout := time.Duration(s.config.HTTP.DrainTimeout)
	s.log.Info("draining", "timeout", timeout.String())
	s.health.Draining.Store(true)
	select {
	case <-time.After(min(readinessDelay, timeout)):
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.log.Warn("requests were still in flight when the drain timeout ended; they are cut off", "timeout", timeout.String())
		return errors.Join(server.Close())
	}
	s.log.Info("stopped")
	return nil
}

func (s *Server) httpServer(ctx context.Context, group *sync.WaitGroup) (*http.Server, error) {
	limit := connections.New(connections.Fitting(s.config.HTTP.Limits.Connections), s.proxies)
	limit.Refused = s.metrics.Refused.Inc
	server := &http.Server{
		Handler:           s,
		ConnState:         limit.State,
		ReadHeaderTimeout: min(headerTimeout, time.Duration(s.config.HTTP.Limits.StallTimeout)),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    s.config.HTTP.Limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if s.config.HTTP.TLS == nil {
		s.log.Warn("serving plain HTTP: passwords and packs can be read on the way; not recommended but behind a proxy that ends TLS")
		return server, nil
	}
	var err error
	server.TLSConfig, err = certs.Start(ctx, group, certs.Options{TLS: s.config.HTTP.TLS, HTTP2: !s.config.HTTP.HTTP2.Disabled, Store: s.store,
		UserAgent: "packregistry/" + Version, Metrics: s.metrics, Log: s.log})
	if err != nil {
		return nil, err
	}
	if !slices.Contains(server.TLSConfig.NextProtos, "h2") {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	return server, nil
}

// startBackground starts what runs beside the requests.
func (s *Server) startBackground(ctx context.Context, group *sync.WaitGroup) {
	if s.users != nil {
		group.Go(func() { s.users.Watch(ctx, watch.Interval) })
	}
	if s.policy == nil {
		s.log.Warn("the configuration has no auth section: everybody may read, push and delete")
	}
	group.Go(func() { s.health.Watch(ctx) })
	if s.config.Storage.Maintenance.ReadOnly.Enabled {
		s.log.Info("the registry is read-only: nothing is pushed, deleted, purged or collected")
		return
	}
	if purging := s.config.Storage.Maintenance.UploadPurging; purging.Enabled == nil || *purging.Enabled {
		group.Go(func() { s.jobs().PurgeUploads(ctx, purging) })
	}
	if c := s.config.Storage.Maintenance.GarbageCollection; c.Enabled == nil || *c.Enabled {
		group.Go(func() { s.jobs().CollectGarbage(ctx, c) })
	}
}

func (s *Server) jobs() maintenance.Jobs {
	return maintenance.Jobs{Store: s.store, Metrics: s.metrics, Log: s.log}
}
