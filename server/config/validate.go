package config

import (
	"crypto/tls"
	"maps"
	"net"
	"net/url"
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
	if c.Auth != nil && c.Auth.HTPasswd == nil {
		d.fail("auth: names no kind; use auth.htpasswd with a path, or leave the section out for a registry that is open to all")
	}
	if c.Auth != nil && c.Auth.HTPasswd != nil && c.Auth.HTPasswd.Path == "" {
		d.fail("auth.htpasswd.path: missing; name the file of bcrypt lines that `htpasswd -B` writes")
	}
	if c.Auth != nil && c.Auth.HTPasswd != nil && strings.ContainsAny(c.Auth.HTPasswd.Realm, "\"\\\r\n") {
		d.fail("auth.htpasswd.realm: must not hold quotes, backslashes or line breaks")
	}
}

func (d *decoder) validateStorage(s Storage) {
	var kinds []string
	for kind, set := range map[string]bool{"filesystem": s.Filesystem != nil, "s3": s.S3 != nil, "inmemory": s.InMemory != nil} {
		if set {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case len(kinds) == 0:
		d.fail("storage: names no kind; use one of storage.filesystem, storage.inmemory")
	case len(kinds) > 1:
		d.fail("storage: has more than one kind; remove all but one from the file, or choose with REGISTRY_STORAGE=<kind>")
	case s.Filesystem != nil && s.Filesystem.RootDirectory == "":
		d.fail("storage.filesystem.rootdirectory: missing; name the directory that packs are kept in")
	}
}

func (d *decoder) validateHTTP(h *HTTP) {
	for path, addr := range map[string]string{"http.addr": h.Addr, "http.debug.addr": h.Debug.Addr} {
		if addr == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			d.fail("%s: %q is not host:port or :port", path, addr)
		}
	}
	if h.Host != "" {
		if u, err := url.Parse(h.Host); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			d.fail("http.host: %q must be a URL with scheme and host, such as https://packs.example.com", h.Host)
		}
	}
	if h.Prefix != "" && !strings.HasPrefix(h.Prefix, "/") {
		d.fail("http.prefix: %q must begin with /", h.Prefix)
	}
	if values := h.Headers["Content-Security-Policy"]; len(values) > 0 {
		last := &values[len(values)-1]
		if strings.HasSuffix(*last, unclosedCSP) {
			*last += "'"
		}
	}
	if h.TLS != nil {
		d.validateTLS(h.TLS)
	}
}

func (d *decoder) validateTLS(t *TLS) {
	switch {
	case t.Certificate == "" && t.Key == "":
		d.fail("http.tls: needs certificate and key; leave the section out for plain HTTP")
	case t.Certificate == "" || t.Key == "":
		d.fail("http.tls: certificate and key go together; one of them is missing")
	}
	if t.ClientAuth != "" && len(t.ClientCAs) == 0 {
		d.fail("http.tls.clientauth: has no effect without http.tls.clientcas")
	}
	if t.MinimumTLS == "tls1.0" || t.MinimumTLS == "tls1.1" {
		d.warn("http.tls.minimumtls: %s is no longer safe; raised to tls1.2", t.MinimumTLS)
		t.MinimumTLS = "tls1.2"
	}
	known := map[string]bool{}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known[s.Name] = true
	}
	for _, name := range t.CipherSuites {
		if !known[name] {
			d.fail("http.tls.ciphersuites: %q is unknown; names are those of Go's crypto/tls, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", name)
		}
	}
}

// setDefaults fills in what was left out.
func (c *Config) setDefaults() {
	setDefault(&c.Log.Level, "info")
	setDefault(&c.Log.Formatter, "text")
	setDefault(&c.HTTP.Addr, ":5000")
	setDefault(&c.HTTP.Prefix, "/")
	setDefault(&c.HTTP.DrainTimeout, Duration(30*time.Second))
	setDefault(&c.HTTP.Debug.Prometheus.Path, "/metrics")
	setDefault(&c.Packs.Validation, "enforce")
	setDefault(&c.Catalog.MaxEntries, 1000)
	setDefault(&c.Tags.MaxTags, 1000)
	setDefault(&c.Health.StorageDriver.Interval, Duration(10*time.Second))
	setDefault(&c.Health.StorageDriver.Threshold, 3)
	setDefault(&c.Storage.Maintenance.UploadPurging.Age, Duration(168*time.Hour))
	setDefault(&c.Storage.Maintenance.UploadPurging.Interval, Duration(24*time.Hour))
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

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// DeleteEnabled says whether tags and manifests can be deleted.
func (c *Config) DeleteEnabled() bool {
	return c.Storage.Delete.Enabled == nil || *c.Storage.Delete.Enabled
}
