package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

func (d *decoder) validateHTTP(h *HTTP) {
	d.validateAddr("http.addr", h.Addr)
	d.validateAddr("http.debug.addr", h.Debug.Addr)
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

func (d *decoder) validateAddr(path, addr string) {
	if addr == "" {
		return
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		d.fail("%s: %q is not host:port or :port", path, addr)
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
	if u, err := url.Parse(l.DirectoryURL); l.DirectoryURL != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		d.fail(path+"directoryurl: %q must be an https URL", l.DirectoryURL)
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
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}
