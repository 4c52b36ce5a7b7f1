package config

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

func (d *decoder) validateHTTP(h *HTTP) {
	d.validateAddr("http.addr", h.Addr)
	d.validateAddr("http.debug.addr", h.Debug.Addr)
	d.validateListeners([]string{"http.addr", "http.debug.addr"}, []string{orDefault(h.Addr, defaultAddr), h.Debug.Addr})
	if h.Host != "" {
		if _, err := parseURL(h.Host, "http", "https"); err != nil {
			d.fail("http.host: must be a URL with scheme and host, such as https://packs.example.com; %w", err)
		}
	}
	if h.Prefix != "" && !validPath(h.Prefix) {
		d.fail("http.prefix: %q must be a path such as /packs/, of letters, digits and -._~", h.Prefix)
	}
	d.validateDebugPath(h.Debug.Prometheus.Path)
	d.atLeast("http.limits.connections", h.Limits.Connections, 1)
	d.atLeast("http.limits.headerbytes", h.Limits.HeaderBytes, minHeaderBytes)
	d.atLeast("http.limits.manifestbytes", h.Limits.ManifestBytes, minManifestBytes)
	d.atLeast("http.limits.uploads", h.Limits.Uploads, 1)
	d.atLeast("http.limits.unpacks", h.Limits.Unpacks, 1)
	d.atLeast("http.limits.minrate", h.Limits.MinRate, 1)
	d.longEnough("http.limits.stalltimeout", h.Limits.StallTimeout)
	if values := h.Headers["Content-Security-Policy"]; len(values) > 0 {
		last := &values[len(values)-1]
		if strings.HasSuffix(*last, unclosedCSP) {
			*last += "'"
		}
	}
	if _, err := ParseNetworks(h.TrustedProxies); err != nil {
		d.fail("http.trustedproxies: %w", err)
	}
	if h.ClientIPHeader != "" && len(h.TrustedProxies) == 0 {
		d.warn("http.clientipheader: has no effect without http.trustedproxies")
	}
	if h.TLS != nil {
		d.validateTLS(h.TLS)
	}
}

// ParseNetworks reads addresses and networks: 192.0.2.1, 10.0.0.0/8, fd00::/8.
func ParseNetworks(list []string) ([]netip.Prefix, error) {
	networks := make([]netip.Prefix, 0, len(list))
	for _, word := range list {
		if addr, err := netip.ParseAddr(word); err == nil {
			networks = append(networks, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(word)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", word)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

// The least that lets clients in at all: a request's usual headers, and the manifest of one pack.
const (
	minHeaderBytes   = 1 << 10
	minManifestBytes = 512
)

// shortest is the least time that something happens again after, or is waited for.
const shortest = Duration(time.Millisecond)

// atLeast checks a number that is set.
func (d *decoder) atLeast(path string, n, least int) {
	if n != 0 && n < least {
		d.fail("%s: %d is too small; use at least %d", path, n, least)
	}
}

// longEnough checks a duration that is set.
func (d *decoder) longEnough(path string, duration Duration) {
	if duration != 0 && duration < shortest {
		d.fail("%s: %s is too short; use at least %s", path, time.Duration(duration), time.Duration(shortest))
	}
}

// validPath says whether all of it is itself in a URL, and leads to where it says.
func validPath(path string) bool {
	if !strings.HasPrefix(path, "/") || strings.Trim(path, "/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") != "" {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	return true
}

// debugPaths are those of the debug address that are taken.
var debugPaths = []string{"/livez", "/readyz", "/status"}

func (d *decoder) validateDebugPath(path string) {
	const key = "http.debug.prometheus.path"
	switch {
	case path == "":
	case !validPath(path):
		d.fail(key+": %q must be a path such as /metrics", path)
	case slices.Contains(debugPaths, path), strings.HasPrefix(path, "/debug/pprof/"):
		d.fail(key+": %q is taken; use another such as /metrics", path)
	}
}

func (d *decoder) validateTLS(t *TLS) {
	switch {
	case t.LetsEncrypt != nil && (t.Certificate != "" || t.Key != ""):
		d.fail("http.tls: has a certificate and letsencrypt; remove one of them")
	case t.LetsEncrypt != nil:
		d.validateLetsEncrypt(t.LetsEncrypt)
	case t.Certificate == "" && t.Key == "":
		d.fail("http.tls: needs certificate and key, or letsencrypt; leave the section out for plain HTTP")
	case t.Certificate == "" || t.Key == "":
		d.fail("http.tls: certificate and key go together; one of them is missing")
	}
	if t.ClientAuth != "" && len(t.ClientCAs) == 0 {
		d.fail("http.tls.clientauth: has no effect without http.tls.clientcas")
	}
	if t.MinimumTLS == "tls1.0" || t.MinimumTLS == "tls1.1" {
		if t.AllowObsolete {
			d.warn("http.tls.minimumtls: %s is no longer safe", t.MinimumTLS)
		} else {
			d.warn("http.tls.minimumtls: %s is no longer safe; raised to tls1.2 (http.tls.allowobsolete: true keeps it)", t.MinimumTLS)
			t.MinimumTLS = "tls1.2"
		}
	}
	if t.MinimumTLS == "tls1.3" && len(t.CipherSuites) > 0 {
		d.warn("http.tls.ciphersuites: has no effect with tls1.3, whose suites cannot be chosen")
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

func (d *decoder) validateLetsEncrypt(l *LetsEncrypt) {
	const path = "http.tls.letsencrypt."
	if len(l.Hosts) == 0 {
		d.fail(path + "hosts: missing; name the hosts to obtain certificates for")
	}
	for _, host := range l.Hosts {
		if !validHost(host) {
			d.fail(path+"hosts: %q is no name that a certificate can be obtained for: it needs a public DNS name, without * and port", host)
		}
	}
	switch {
	case l.CacheFile == "" && !l.CacheStorage:
		d.fail(path + "cachefile: missing; name a directory that outlives the server, or set " + path +
			"cachestorage: true: certificates that are ordered anew at each start soon meet the issuer's rate limits")
	case l.CacheFile != "" && l.CacheStorage:
		d.fail(path + "cachefile and cachestorage are two places for one thing; use one of them")
	}
	if l.Email != "" && !strings.Contains(strings.Trim(l.Email, "@"), "@") {
		d.fail(path+"email: %q is no address", l.Email)
	}
	if l.DirectoryURL != "" {
		if _, err := parseURL(l.DirectoryURL, "https"); err != nil {
			d.fail(path+"directoryurl: must be an https URL; %w", err)
		}
	}
	d.validateAddr(path+"httpaddr", l.HTTPAddr)
}

// validHost says whether host is a DNS name of at least two labels.
func validHost(host string) bool {
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(host) > 253 || len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}
