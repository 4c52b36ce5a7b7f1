package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// DefaultHeaders returns the six headers that every response carries unless the configuration says otherwise.
func DefaultHeaders() Headers {
	return Headers{
		"X-Content-Type-Options":    {"nosniff"},
		"Strict-Transport-Security": {"max-age=63072000; includeSubdomains; preload"},
		"Content-Security-Policy":   {"img-src 'self'; script-src 'self';  style-src 'self'"},
		"X-Frame-Options":           {"DENY"},
		"X-Xss-Protection":          {"1; mode=block"},
		"Referrer-Policy":           {"same-origin"},
	}
}

// unclosedCSP is the value as every edition of the documents prints it, with its last quote missing: a browser ignores
// the source it cannot read, so closing it is what the author meant.
const unclosedCSP = "style-src 'self"

// validate finds what no single key can tell.
func (d *decoder) validate(c *Config) {
	if c.Version != Version {
		d.fail("version: %q; this server reads version: %s", c.Version, Version)
	}
	if c.Log.Formatter == "logstash" {
		d.warn("log.formatter: logstash is written as json, without its envelope")
		c.Log.Formatter = "json"
	}
	d.validateStorage(c.Storage)
	d.validateHTTP(&c.HTTP)
	d.longEnough("health.storagedriver.interval", c.Health.StorageDriver.Interval)
	if c.Auth != nil {
		d.validateAuth(c.Auth)
	}
	d.validateBasePaths(c)
	d.validateUI(c)
}

func (d *decoder) validateAuth(a *Auth) {
	switch {
	case a.HTPasswd == nil && !a.Access.Anonymous():
		d.fail("auth: names no kind; use auth.htpasswd with a path, or leave the section out for a registry that is open to all")
	case a.HTPasswd == nil:
		d.warn("auth: has no users: everybody may read, and nobody can push")
	case a.HTPasswd.Path == "":
		d.fail("auth.htpasswd.path: missing; name the file of bcrypt lines that `htpasswd -B` writes")
	case strings.ContainsAny(a.HTPasswd.Realm, "\"\\\r\n"):
		d.fail("auth.htpasswd.realm: must not hold quotes, backslashes or line breaks")
	}
	for i, rule := range a.Access.Rules {
		path := fmt.Sprintf("auth.access.rules[%d]", i)
		if len(rule.Users) == 0 && !rule.Anonymous {
			d.fail("%s.users: missing; name users, or \"*\" for all of them, or set anonymous: true", path)
		}
		if len(rule.Repositories) == 0 {
			d.fail("%s.repositories: missing; name patterns such as spectro-packs/archive/team-* or **", path)
		}
		for _, pattern := range rule.Repositories {
			if pattern == "" || strings.Trim(pattern, "abcdefghijklmnopqrstuvwxyz0123456789._-/*") != "" {
				d.fail("%s.repositories: %q is no pattern: use a repository's name, with * for anything within a component and ** for anything", path, pattern)
			}
		}
		if len(rule.Actions) == 0 {
			d.fail("%s.actions: missing; use pull, push, delete", path)
		}
		for _, action := range rule.Actions {
			if action != "pull" && action != "push" && action != "delete" {
				d.fail("%s.actions: %q is none of pull, push, delete", path, action)
			}
		}
	}
}

// Anonymous says whether anybody may do anything without a credential.
func (a *Access) Anonymous() bool {
	return a.AnonymousPull || slices.ContainsFunc(a.Rules, func(r AccessRule) bool { return r.Anonymous })
}

// setDefaults fills in what was left out.
func (c *Config) setDefaults() {
	setDefault(&c.Log.Level, "info")
	setDefault(&c.Log.Formatter, "text")
	setDefault(&c.HTTP.Addr, defaultAddr)
	setDefault(&c.HTTP.Prefix, "/")
	if len(c.HTTP.TrustedProxies) > 0 {
		setDefault(&c.HTTP.ClientIPHeader, "X-Forwarded-For")
	}
	setDefault(&c.HTTP.DrainTimeout, Duration(30*time.Second))
	setDefault(&c.HTTP.Debug.Prometheus.Path, "/metrics")
	setDefault(&c.HTTP.Limits.Connections, 4096)
	setDefault(&c.HTTP.Limits.HeaderBytes, 64<<10)
	setDefault(&c.HTTP.Limits.ManifestBytes, 4<<20)
	setDefault(&c.HTTP.Limits.Uploads, 256)
	setDefault(&c.HTTP.Limits.Unpacks, 16)
	setDefault(&c.HTTP.Limits.MinRate, 8<<10)
	setDefault(&c.HTTP.Limits.StallTimeout, Duration(time.Minute))
	setDefault(&c.Log.AccessLog.Formatter, "structured")
	setDefault(&c.Manifests.Missing, "refuse")
	setDefault(&c.Packs.Validation, "enforce")
	setDefault(&c.Catalog.MaxEntries, 1000)
	setDefault(&c.Tags.MaxTags, 1000)
	setDefault(&c.UI.Title, "PackRegistry")
	setDefault(&c.Health.StorageDriver.Interval, Duration(10*time.Second))
	setDefault(&c.Health.StorageDriver.Threshold, 3)
	setDefault(&c.Storage.Maintenance.UploadPurging.Age, Duration(168*time.Hour))
	setDefault(&c.Storage.Maintenance.UploadPurging.Interval, Duration(24*time.Hour))
	setDefault(&c.Storage.Maintenance.GarbageCollection.Interval, Duration(24*time.Hour))
	setDefault(&c.Storage.Maintenance.GarbageCollection.Grace, Duration(24*time.Hour))
	setDefault(&c.Storage.Maintenance.GarbageCollection.KeepUntagged, Duration(90*24*time.Hour))
	headers := DefaultHeaders()
	maps.Copy(headers, c.HTTP.Headers)
	maps.DeleteFunc(headers, func(_ string, values StringList) bool { return len(values) == 0 })
	c.HTTP.Headers = headers
	if c.Auth != nil && c.Auth.HTPasswd != nil {
		setDefault(&c.Auth.HTPasswd.Realm, "basic-realm")
	}
	if c.HTTP.TLS != nil {
		setDefault(&c.HTTP.TLS.MinimumTLS, "tls1.2")
		if len(c.HTTP.TLS.ClientCAs) > 0 {
			setDefault(&c.HTTP.TLS.ClientAuth, "require-and-verify-client-cert")
		}
	}
}

const defaultAddr = ":5000"

func orDefault(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// UIEnabled says whether there are pages for browsers.
func (c *Config) UIEnabled() bool { return c.UI.Enabled == nil || *c.UI.Enabled }

// DeleteEnabled says whether tags and manifests can be deleted.
func (c *Config) DeleteEnabled() bool {
	return c.Storage.Delete.Enabled == nil || *c.Storage.Delete.Enabled
}
